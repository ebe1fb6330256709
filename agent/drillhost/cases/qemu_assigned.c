/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A Linux guest of stock QEMU under nested KVM that has a PCI device by VFIO:
 * the device sees frames, not addresses, so that the library leaves all of the
 * guest's RAM alone, and says why.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/drillhost/inner.h"
#include "agent/knob.h"
#include "agent/ksm.h"

#define ROUNDS 3
#define SETTLE_S 5
#define WORD "VFIO"
#define RAM_BYTES_MIN (16 << 20)

static bool is_refused(const json_t *block)
{
	return !strcmp(channel_text(block, "state"), "refused") &&
	       strstr(channel_text(block, "reason"), WORD);
}

/* Blocks without the guest's RAM (firmware) are not mapped for devices. */
static bool is_ram(const json_t *block)
{
	return json_integer_value(json_object_get(block, "bytes")) >=
	       RAM_BYTES_MIN;
}

static void check_blocks(struct inner *inner)
{
	struct row *row = inner->cell->row;
	json_t *stats = NULL, *blocks, *block;
	unsigned refused = 0;
	size_t i;

	if (inner_stats(inner, &stats))
		return;
	blocks = json_object_get(stats, "blocks");
	json_array_foreach(blocks, i, block) {
		refused += is_ram(block) && is_refused(block);
		if (is_ram(block) && !is_refused(block))
			row_blame(row, "RAM that a device sees is %s",
				  channel_text(block, "state"));
	}
	if (!refused)
		row_blame(row, "no block of RAM is refused");
	json_decref(stats);
	snprintf(row->outcome, sizeof(row->outcome),
		 "the guest noticed nothing; its RAM is refused, as it is "
		 "mapped for devices");
}

static void assigned(struct cell *cell)
{
	static struct inner inner;
	const struct inner_opts opts = { .assigned = true };
	int r = inner_start(cell, &opts, &inner);

	if (!r && cell->row->configuration == ROW_BASELINE)
		r = knob_write(KSM_RUN, "1");
	sleep(SETTLE_S);
	if (!r)
		r = inner_rounds(&inner, ROUNDS);
	if (!r)
		inner_count(&inner);
	if (!r && cell->row->configuration == ROW_TWINFOLD)
		check_blocks(&inner);
	if (*cell->row->why)
		inner_print(&inner);
}

const struct drill_case drill_qemu_assigned = {
	.name = "qemu-assigned",
	.fault = "QEMU with a device by VFIO: no fault",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1, .spare = true },
	.needs = CAP(NESTED_KVM) | CAP(QEMU) | CAP(MERGE) | CAP(VFIO),
	.needs_baseline = CAP(KSM),
	.own_boot = true,
	.seconds = 180,
	.twinfold = assigned,
	.baseline = assigned,
};
