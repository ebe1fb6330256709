/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, a Linux guest of stock QEMU under nested KVM: a page is lost and QEMU is
 * not told; the guest touches it, and KVM raises SIGBUS in the vCPU's thread
 * (action required).
 */
#include "agent/drillhost/inner.h"

#define NEEDS                                                                  \
	(CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) | CAP(QEMU) |   \
	 CAP(MERGE))

static void shared(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_COMMON,
						     .opts.late = true });
}

static void unique(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_UNIQUE,
						     .opts.late = true });
}

const struct drill_case drill_qemu_consumed_shared = {
	.name = "qemu-consumed-shared",
	.fault = "QEMU: guest touches a lost shared page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = shared,
	.baseline = shared,
};

const struct drill_case drill_qemu_consumed_unique = {
	.name = "qemu-consumed-unique",
	.fault = "QEMU: guest touches a lost unique page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS | CAP(QEMU_TELLS),
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = unique,
	.baseline = unique,
};
