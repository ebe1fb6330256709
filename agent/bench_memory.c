/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory: what merging costs in memory, per page. The engine's own figure
 * stands beside the growth of the process's anonymous memory outside the
 * guest area, which is measured from outside.
 */
#include "agent/bench.h"

static int measure(const struct bench_opts *opts, struct bench_side *side,
		   json_t *out)
{
	double pages = (double)bench_pages(opts->mem_mib);
	struct bench_measured m;
	int code = bench_measure(opts, side, &m);
	double merged, duplicates;

	if (code)
		return code;
	merged = (double)(m.settled.counts.shared + m.settled.counts.sharing);
	duplicates = (double)m.duplicates * BENCH_PAGE;
	bench_set_ratio(out, "metadata_bytes_per_page",
			(double)side->metadata(side), pages);
	bench_set_ratio(out, "metadata_measured_bytes_per_page",
			(double)m.anon_bytes, pages);
	bench_set_ratio(out, "kernel_bytes_per_merged_page",
			(double)m.kernel_bytes, merged);
	bench_set_ratio(out, "net_saved_fraction", (double)m.saved_bytes,
			duplicates);
	bench_set_int(out, "net_saved_bytes", m.saved_bytes);
	bench_set_int(out, "sharing", (int64_t)m.settled.counts.sharing);
	return TF_EXIT_OK;
}

static void join(const struct bench_opts *opts, json_t *top, json_t *twinfold,
		 json_t *ksm)
{
	(void)opts;
	json_object_update(top, twinfold);
	if (ksm)
		json_object_set(top, "ksm", ksm);
}

const struct bench_case bench_memory = {
	.name = "memory",
	.summary = "what merging costs in memory, per page",
	.default_mib = 256,
	.shapes = 1 << BENCH_SCATTERED | 1 << BENCH_RUNS | 1 << BENCH_ZERO,
	.has_ksm = true,
	.raises_map_count = true,
	.measure = measure,
	.join = join,
};
