/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, guests of the lightweight VMM under nested KVM: a page is lost and
 * nobody is told; a guest touches it, and KVM raises SIGBUS in the vCPU's thread
 * (action required).
 */
#include "agent/drillhost/world.h"

#define NEEDS                                                                  \
	(CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) | CAP(MERGE))

static void shared(struct cell *cell)
{
	world_one_fault(cell,
			&(struct world_fault){ .opts.backend = TF_BACKEND_KVM,
					       .kind = TF_WORK_COMMON,
					       .how = LOSE_DEFERRED,
					       .early = false });
}

static void unique(struct cell *cell)
{
	world_one_fault(cell,
			&(struct world_fault){ .opts.backend = TF_BACKEND_KVM,
					       .kind = TF_WORK_UNIQUE,
					       .how = LOSE_DEFERRED,
					       .early = false });
}

const struct drill_case drill_vmm_consumed_shared = {
	.name = "vmm-consumed-shared",
	.fault = "guest touches a lost shared page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = shared,
	.baseline = shared,
};

const struct drill_case drill_vmm_consumed_unique = {
	.name = "vmm-consumed-unique",
	.fault = "guest touches a lost page that is nowhere else",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = unique,
	.baseline = unique,
};
