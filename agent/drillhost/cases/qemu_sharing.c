/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A Linux guest of stock QEMU under nested KVM, and no fault: what is shared
 * inside the guest, and that the library knows KVM's memslots.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/drillhost/inner.h"
#include "agent/ksm.h"

#define SCANS 4 /* what KSM takes to settle */
#define TRIES 600
#define TRY_US 100000
#define ROUNDS 3
#define FIRMWARE_GPA 0xf0000
#define PAGES_PER_MB (1e6 / 4096)

static uint64_t scans(struct inner *inner)
{
	struct ksm_counts c = { 0 };

	if (inner->cell->row->configuration == ROW_TWINFOLD)
		return inner_stat(inner, "full_scans");
	return ksm_counts(&c) ? 0 : c.full_scans;
}

static int wait_scans(struct inner *inner)
{
	uint64_t end = scans(inner) + SCANS;
	int r = 0;

	for (int i = 0; i < TRIES && !r && scans(inner) < end; i++) {
		usleep(TRY_US);
		r = inner_look(inner);
	}
	return r;
}

static void tell(struct inner *inner)
{
	struct row *row = inner->cell->row;
	struct ksm_counts c = { 0 };
	uint64_t zeros = 0;

	if (row->configuration == ROW_TWINFOLD) {
		c.shared = inner_stat(inner, "pages_shared");
		c.sharing = inner_stat(inner, "pages_sharing");
		zeros = inner_stat(inner, "zero_pages");
	} else {
		ksm_counts(&c);
	}
	snprintf(row->outcome, sizeof(row->outcome),
		 "the guest noticed nothing; %" PRIu64 " pages are %" PRIu64
		 ", %" PRIu64 " zero pages none: %.1f MB saved",
		 c.sharing + c.shared, c.shared, zeros,
		 (double)(c.sharing + zeros) / PAGES_PER_MB);
}

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

static void judge(struct inner *inner)
{
	struct row *row = inner->cell->row;

	row->guest_checks = inner->now.checks;
	row->guest_check_failures = inner->now.failures;
	row->wrong_bytes = inner->now.wrong_bytes;
	row->lost_writes = inner->now.lost_writes;
	if (inner->now.failures || inner->now.keeper || inner->now.owner)
		row_blame(row, "%" PRIu64 " checks of the guest failed",
			  inner->now.failures);
	tell(inner);
	if (row->configuration == ROW_TWINFOLD)
		check_memslots(inner);
}

static void sharing(struct cell *cell)
{
	static struct inner inner;
	int r = inner_start(cell, &(struct inner_opts){ 0 }, &inner);

	if (!r)
		r = inner_merge(&inner, INNER_COMMON);
	if (!r)
		r = wait_scans(&inner);
	if (!r)
		r = inner_rounds(&inner, ROUNDS);
	if (!r)
		judge(&inner);
	if (*cell->row->why)
		inner_print(&inner);
}

const struct drill_case drill_qemu_sharing = {
	.name = "qemu-sharing",
	.fault = "QEMU: no fault, only sharing",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = CAP(NESTED_KVM) | CAP(QEMU) | CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = sharing,
	.baseline = sharing,
};
