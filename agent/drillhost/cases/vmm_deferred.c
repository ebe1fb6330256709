/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, guests of the lightweight VMM under nested KVM: a deferred error, which
 * the kernel finds by polling and tells of before anybody touches the page
 * (action optional).
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
					       .early = true });
}

/* As a content like others: nobody can heal the kernel's own zero page. */
static void zero(struct cell *cell)
{
	struct world_fault fault = { .opts.backend = TF_BACKEND_KVM,
				     .kind = TF_WORK_ZERO,
				     .how = LOSE_DEFERRED,
				     .early = true };

	tf_engine_opts_init(&fault.opts.engine);
	fault.opts.engine.use_zero_pages = 0;
	fault.opts.engine.min_copies = 2;
	fault.opts.engine.copy_sharers = 2;
	world_one_fault(cell, &fault);
}

static void unique(struct cell *cell)
{
	world_one_fault(cell,
			&(struct world_fault){ .opts.backend = TF_BACKEND_KVM,
					       .kind = TF_WORK_UNIQUE,
					       .how = LOSE_DEFERRED,
					       .early = true });
}

const struct drill_case drill_vmm_deferred_shared = {
	.name = "vmm-deferred-shared",
	.fault = "deferred error on a shared page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = shared,
	.baseline = shared,
};

const struct drill_case drill_vmm_deferred_zero = {
	.name = "vmm-deferred-zero",
	.fault = "deferred error on a page of zeros",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = zero,
	.baseline = zero,
};

const struct drill_case drill_vmm_deferred_unique = {
	.name = "vmm-deferred-unique",
	.fault = "deferred error on a page that is nowhere else",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = unique,
	.baseline = unique,
};
