/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, guests of the lightweight VMM under nested KVM: an operator, or a
 * daemon for him, has the kernel give up a page that is lost: hard_offline_page,
 * or the module hwpoison-inject.
 */
#include "agent/drillhost/world.h"

#define NEEDS (CAP(MEMORY_FAILURE) | CAP(NESTED_KVM) | CAP(MERGE))

static void lose(struct cell *cell, enum tf_work_kind kind, enum lose_how how)
{
	world_one_fault(cell,
			&(struct world_fault){ .opts.backend = TF_BACKEND_KVM,
					       .kind = kind,
					       .how = how,
					       .early = true });
}

static void hard_shared(struct cell *cell)
{
	lose(cell, TF_WORK_COMMON, LOSE_HARD_OFFLINE);
}

static void hard_unique(struct cell *cell)
{
	lose(cell, TF_WORK_UNIQUE, LOSE_HARD_OFFLINE);
}

static void pfn_shared(struct cell *cell)
{
	lose(cell, TF_WORK_COMMON, LOSE_CORRUPT_PFN);
}

static void pfn_unique(struct cell *cell)
{
	lose(cell, TF_WORK_UNIQUE, LOSE_CORRUPT_PFN);
}

const struct drill_case drill_vmm_offline_shared = {
	.name = "vmm-offline-shared",
	.fault = "hard_offline_page, shared page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS | CAP(HARD_OFFLINE),
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = hard_shared,
	.baseline = hard_shared,
};

const struct drill_case drill_vmm_offline_unique = {
	.name = "vmm-offline-unique",
	.fault = "hard_offline_page, page that is nowhere else",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS | CAP(HARD_OFFLINE),
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = hard_unique,
	.baseline = hard_unique,
};

const struct drill_case drill_vmm_corrupt_shared = {
	.name = "vmm-corrupt-shared",
	.fault = "corrupt-pfn, shared page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS | CAP(HWPOISON_INJECT),
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = pfn_shared,
	.baseline = pfn_shared,
};

const struct drill_case drill_vmm_corrupt_unique = {
	.name = "vmm-corrupt-unique",
	.fault = "corrupt-pfn, page that is nowhere else",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS | CAP(HWPOISON_INJECT),
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = pfn_unique,
	.baseline = pfn_unique,
};
