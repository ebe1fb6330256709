/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, a Linux guest of stock QEMU under nested KVM, and one page is lost.
 * Deferred: the kernel tells QEMU before anybody touches the page (action
 * optional). Consumed: QEMU is not told; the guest touches the page, and KVM
 * raises SIGBUS in the vCPU's thread (action required).
 */
#include "agent/drillhost/inner.h"

#define NEEDS                                                                  \
	(CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) | CAP(QEMU) |   \
	 CAP(MERGE))

/* clang-format off */
#define ONE_PAGE(run)                                                          \
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },                 \
	.needs_baseline = CAP(KSM),                                            \
	.seconds = 180,                                                        \
	.twinfold = (run),                                                     \
	.baseline = (run)
/* clang-format on */

static void deferred_shared(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_COMMON });
}

/* With the library: of the guest's page alone, without a machine check. */
static void deferred_zero(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_ZERO });
}

static void deferred_unique(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_UNIQUE });
}

static void consumed_shared(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_COMMON,
						     .opts.late = true });
}

static void consumed_unique(struct cell *cell)
{
	inner_one_fault(cell, &(struct inner_fault){ .kind = INNER_UNIQUE,
						     .opts.late = true });
}

const struct drill_case drill_qemu_deferred_shared = {
	.name = "qemu-deferred-shared",
	.fault = "QEMU: deferred error on a shared page",
	.needs = NEEDS,
	ONE_PAGE(deferred_shared),
};

const struct drill_case drill_qemu_deferred_zero = {
	.name = "qemu-deferred-zero",
	.fault = "QEMU: a page of zeros is lost",
	.needs = NEEDS,
	ONE_PAGE(deferred_zero),
};

const struct drill_case drill_qemu_deferred_unique = {
	.name = "qemu-deferred-unique",
	.fault = "QEMU: deferred error on a unique page",
	.needs = NEEDS | CAP(QEMU_TELLS),
	ONE_PAGE(deferred_unique),
};

const struct drill_case drill_qemu_consumed_shared = {
	.name = "qemu-consumed-shared",
	.fault = "QEMU: guest touches a lost shared page",
	.needs = NEEDS,
	ONE_PAGE(consumed_shared),
};

const struct drill_case drill_qemu_consumed_unique = {
	.name = "qemu-consumed-unique",
	.fault = "QEMU: guest touches a lost unique page",
	.needs = NEEDS | CAP(QEMU_TELLS),
	ONE_PAGE(consumed_unique),
};
