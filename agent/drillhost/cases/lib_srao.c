/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Intel, the library in a process whose guests are threads: an error that the
 * memory controller found by itself (SRAO), broadcast to both CPUs.
 */
#include "agent/drillhost/world.h"

static void shared(struct cell *cell)
{
	world_one_fault(cell, &(struct world_fault){ .opts.backend =
							     TF_BACKEND_THREAD,
						     .kind = TF_WORK_COMMON,
						     .how = LOSE_SRAO,
						     .early = true });
}

const struct drill_case drill_lib_srao_shared = {
	.name = "lib-srao-shared",
	.fault = "SRAO broadcast to two CPUs, shared page",
	.host = { .vendor = HOST_INTEL, .cpus = 2, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = shared,
	.baseline = shared,
};
