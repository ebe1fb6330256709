/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Intel, the library in a process whose guests are threads: errors that the memory
 * controller could correct come from one page again and again, until the kernel
 * moves what is there to another frame (its collector of corrected errors).
 */
#include "agent/drillhost/world.h"

static void move(struct cell *cell, enum tf_work_kind kind)
{
	world_one_move(cell,
		       &(struct world_opts){ .backend = TF_BACKEND_THREAD },
		       kind, true);
}

static void shared(struct cell *cell)
{
	move(cell, TF_WORK_COMMON);
}

static void unique(struct cell *cell)
{
	move(cell, TF_WORK_UNIQUE);
}

const struct drill_case drill_lib_corrected_shared = {
	.name = "lib-corrected-shared",
	.fault = "corrected errors past the threshold, shared page",
	.host = { .vendor = HOST_INTEL, .cpus = 2, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(CORRECTED) |
		 CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 90,
	.twinfold = shared,
	.baseline = shared,
};

const struct drill_case drill_lib_corrected_unique = {
	.name = "lib-corrected-unique",
	.fault = "corrected errors, page that is nowhere else",
	.host = { .vendor = HOST_INTEL, .cpus = 2, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(CORRECTED) |
		 CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 90,
	.twinfold = unique,
	.baseline = unique,
};
