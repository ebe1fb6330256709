/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, a Linux guest of stock QEMU under nested KVM: a deferred error, of which
 * the kernel tells QEMU before anybody touches the page (action optional).
 */
#include "agent/drillhost/inner.h"

#define NEEDS                                                                  \
	(CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) | CAP(QEMU) |   \
	 CAP(MERGE))

static void shared(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_COMMON });
}

/* With the library: of the guest's page alone, without a machine check. */
static void zero(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_ZERO });
}

static void unique(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_UNIQUE });
}

const struct drill_case drill_qemu_deferred_shared = {
	.name = "qemu-deferred-shared",
	.fault = "QEMU: deferred error on a shared page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = shared,
	.baseline = shared,
};

const struct drill_case drill_qemu_deferred_zero = {
	.name = "qemu-deferred-zero",
	.fault = "QEMU: a page of zeros is lost",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = zero,
	.baseline = zero,
};

const struct drill_case drill_qemu_deferred_unique = {
	.name = "qemu-deferred-unique",
	.fault = "QEMU: deferred error on a unique page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS | CAP(QEMU_TELLS),
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = unique,
	.baseline = unique,
};
