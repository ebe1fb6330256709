/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, a Linux guest of stock QEMU under nested KVM, confined by AppArmor as
 * libvirt does it. Without the lines of configs/apparmor/ the guest runs, nothing
 * is merged, and the library says what is missing; with them, a deferred error
 * on a shared page heals.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/drillhost/inner.h"

/* What the library's log names when the profile does not allow it. */
static const char *const missing[] = { "/dev/userfaultfd", "/proc/self/pagemap",
				       "/proc/self/smaps" };

static void check_log(struct row *row, const char *log)
{
	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
		if (!strstr(log, missing[i]))
			row_blame(row,
				  "without AppArmor's lines, the log does not "
				  "name %s",
				  missing[i]);
}

static void without_lines(struct cell *cell)
{
	static struct inner inner;
	const struct inner_opts opts = { .confine = CONFINE_WITHOUT_LINES };
	int r = inner_start(cell, &opts, &inner);
	char *log = inner_text(inner.errors);

	if (!r && inner_stat(&inner, "can_merge"))
		row_blame(cell->row, "it merges without AppArmor's lines");
	if (!r)
		check_log(cell->row, log ? log : "");
	free(log);
	if (*cell->row->why)
		inner_print(&inner);
	inner_end(&inner);
}

static void confined(struct cell *cell)
{
	const struct inner_fault fault = { .kind = INNER_COMMON,
					   .opts.confine = CONFINE_WITH_LINES };

	if (cell->row->configuration == ROW_TWINFOLD)
		without_lines(cell);
	inner_one_fault(cell, &fault);
}

const struct drill_case drill_qemu_confined = {
	.name = "qemu-confined",
	.fault = "QEMU in AppArmor: deferred error, shared page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) |
		 CAP(QEMU) | CAP(MERGE) | CAP(APPARMOR),
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = confined,
	.baseline = confined,
};
