/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Intel, the library in a process whose guests are threads: an error that the
 * memory controller found by itself (SRAO), broadcast to both CPUs. The process
 * asks for nothing: the library sees to it that the kernel tells.
 */
#include "agent/drillhost/world.h"

static struct world_fault srao(enum tf_work_kind kind)
{
	return (struct world_fault){ .opts.backend = TF_BACKEND_THREAD,
				     .kind = kind,
				     .how = LOSE_SRAO,
				     .early = true };
}

static void shared(struct cell *cell)
{
	const struct world_fault fault = srao(TF_WORK_COMMON);

	world_one_fault(cell, &fault);
}

static void unique(struct cell *cell)
{
	const struct world_fault fault = srao(TF_WORK_UNIQUE);

	world_one_fault(cell, &fault);
}

/* As a content like others. */
static void zero(struct cell *cell)
{
	struct world_fault fault = srao(TF_WORK_ZERO);

	world_engine_opts(&fault.opts.engine);
	fault.opts.engine.use_zero_pages = 0;
	world_one_fault(cell, &fault);
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

const struct drill_case drill_lib_srao_zero = {
	.name = "lib-srao-zero",
	.fault = "SRAO broadcast to two CPUs, page of zeros",
	.host = { .vendor = HOST_INTEL, .cpus = 2, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = zero,
	.baseline = zero,
};

const struct drill_case drill_lib_srao_unique = {
	.name = "lib-srao-unique",
	.fault = "SRAO broadcast, page that is nowhere else",
	.host = { .vendor = HOST_INTEL, .cpus = 2, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = unique,
	.baseline = unique,
};
