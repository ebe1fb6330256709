/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A Linux guest of stock QEMU under nested KVM, and no fault: it is merged from
 * the moment it starts, while its kernel boots and patches its own code; what is
 * shared inside the guest, and that the library knows KVM's memslots.
 */
#include <errno.h>

#include "agent/drillhost/inner.h"

#define ROUNDS 3
#define FIRMWARE_GPA 0xf0000

/* To QEMU's RAM blocks this is RAM as any other. */
static void check_memslots(struct inner *inner)
{
	json_t *answer = NULL;
	int r = inner_try(inner,
			  json_pack("{s:s,s:{s:i,s:s}}", "execute", "inject",
				    "arguments", "gpa", FIRMWARE_GPA, "how",
				    "sim"),
			  &answer);

	json_decref(answer);
	if (r != -EPROTO)
		row_blame(inner->cell->row,
			  "the library takes the firmware for guest RAM");
}

static void sharing(struct cell *cell)
{
	static struct inner inner;
	const struct inner_opts opts = { .early = true };
	int r = inner_start(cell, &opts, &inner);

	if (!r)
		r = inner_merge(&inner, INNER_COMMON);
	if (!r)
		r = inner_settle(&inner);
	if (!r)
		r = inner_rounds(&inner, ROUNDS);
	if (!r)
		inner_count(&inner);
	if (!r && cell->row->configuration == ROW_TWINFOLD)
		check_memslots(&inner);
	if (*cell->row->why)
		inner_print(&inner);
}

const struct drill_case drill_qemu_sharing = {
	.name = "qemu-sharing",
	.fault = "QEMU: no fault, sharing from the start",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = CAP(NESTED_KVM) | CAP(QEMU) | CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = sharing,
	.baseline = sharing,
};
