/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Our side with the kernel's KSM behind it: what the engine hands over for
 * want of mappings (scatter=ksm), KSM merges. A pass is one of the engine and
 * one full scan of KSM; CPU time is the process's and ksmd's, sharing is both
 * together.
 */
#include <string.h>

#include "agent/bench.h"
#include "agent/ksm.h"
#include "twinfold/twinfold.h"

static int open_side(struct bench_side *side, const struct bench_area *area)
{
	int err = ksm_run(true);

	if (err)
		return bench_fail(TF_EXIT_FAILED, "cannot start ksmd: %s",
				  strerror(-err));
	return bench_engine_open(area->base, area->pages * BENCH_PAGE,
				 (struct bench_engine){ .scatter_ksm = true },
				 &side->engine, &side->guest);
}

static int pass(struct bench_side *side)
{
	struct tf_stats st = { .size = sizeof(st) };
	int err = ksm_run(true); /* the engine asks whether it runs */
	int code;

	if (err)
		return bench_fail(TF_EXIT_FAILED, "cannot start ksmd: %s",
				  strerror(-err));
	code = bench_twinfold.pass(side);

	if (code || tf_engine_stats(side->engine, &st) || !st.pages_handed)
		return code;
	return bench_ksm.pass(side);
}

static int counts(struct bench_side *side, struct bench_counts *ret)
{
	struct bench_counts ours, theirs;
	int code = bench_twinfold.counts(side, &ours);

	code = code ? code : bench_ksm.counts(side, &theirs);
	if (code)
		return code;
	ret->shared = ours.shared + theirs.shared;
	ret->sharing = ours.sharing + theirs.sharing;
	ret->zero_pages = ours.zero_pages + theirs.zero_pages;
	return TF_EXIT_OK;
}

static int rest(struct bench_side *side)
{
	return bench_ksm.rest(side);
}

static uint64_t cpu_ns(void)
{
	return bench_process_cpu_ns() + bench_ksm.cpu_ns();
}

static uint64_t metadata(struct bench_side *side)
{
	return bench_twinfold.metadata(side);
}

const struct bench_side bench_twinfold_ksm = {
	.name = "twinfold with KSM",
	.open = open_side,
	.pass = pass,
	.rest = rest,
	.counts = counts,
	.cpu_ns = cpu_ns,
	.cpu_is_ours = true,
	.metadata = metadata,
};
