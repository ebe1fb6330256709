/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, guests of the lightweight VMM under nested KVM, and one page is lost.
 * Deferred: the kernel finds the error by polling, and tells of it before
 * anybody touches the page (action optional). Consumed: nobody is told; a guest
 * touches the page, and KVM raises SIGBUS in the vCPU's thread (action
 * required).
 */
#include "agent/drillhost/world.h"

/* clang-format off */
#define ONE_PAGE(run)                                                          \
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },                 \
	.needs = CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) |       \
		 CAP(MERGE),                                                   \
	.needs_baseline = CAP(KSM),                                            \
	.seconds = 60,                                                         \
	.twinfold = (run),                                                     \
	.baseline = (run)
/* clang-format on */

static void lose(struct cell *cell, enum tf_work_kind kind, bool early)
{
	world_one_fault(cell,
			&(struct world_fault){ .opts.backend = TF_BACKEND_KVM,
					       .kind = kind,
					       .how = LOSE_DEFERRED,
					       .early = early });
}

static void deferred_shared(struct cell *cell)
{
	lose(cell, TF_WORK_COMMON, true);
}

static void deferred_unique(struct cell *cell)
{
	lose(cell, TF_WORK_UNIQUE, true);
}

static void consumed_shared(struct cell *cell)
{
	lose(cell, TF_WORK_COMMON, false);
}

static void consumed_unique(struct cell *cell)
{
	lose(cell, TF_WORK_UNIQUE, false);
}

/* As a content like others: nobody can heal the kernel's own zero page. */
static void deferred_zero(struct cell *cell)
{
	struct world_fault fault = { .opts.backend = TF_BACKEND_KVM,
				     .kind = TF_WORK_ZERO,
				     .how = LOSE_DEFERRED,
				     .early = true };

	world_engine_opts(&fault.opts.engine);
	fault.opts.engine.use_zero_pages = 0;
	world_one_fault(cell, &fault);
}

const struct drill_case drill_vmm_deferred_shared = {
	.name = "vmm-deferred-shared",
	.fault = "deferred error on a shared page",
	ONE_PAGE(deferred_shared),
};

const struct drill_case drill_vmm_deferred_zero = {
	.name = "vmm-deferred-zero",
	.fault = "deferred error on a page of zeros",
	ONE_PAGE(deferred_zero),
};

const struct drill_case drill_vmm_deferred_unique = {
	.name = "vmm-deferred-unique",
	.fault = "deferred error on a page that is nowhere else",
	ONE_PAGE(deferred_unique),
};

const struct drill_case drill_vmm_consumed_shared = {
	.name = "vmm-consumed-shared",
	.fault = "guest touches a lost shared page",
	ONE_PAGE(consumed_shared),
};

const struct drill_case drill_vmm_consumed_unique = {
	.name = "vmm-consumed-unique",
	.fault = "guest touches a lost page that is nowhere else",
	ONE_PAGE(consumed_unique),
};
