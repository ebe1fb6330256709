/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * converge: from nothing merged to all merged. Memory is compared after one
 * touch of every page, before and after, so that both sides have the page
 * tables that a running guest would have; the touch checks the bytes too.
 */
#include "agent/bench.h"
#include "agent/meminfo.h"

struct readings {
	struct meminfo mem;
	uint64_t anon;
	long vmas;
};

static int take_readings(const struct bench_area *area, struct readings *ret)
{
	int err = meminfo_anon_outside(area->base, area->pages * BENCH_PAGE,
				       &ret->anon);

	ret->vmas = meminfo_vmas();
	err = err ? err : meminfo_settled(&ret->mem);
	if (err || ret->vmas < 0)
		return bench_fail(TF_EXIT_HOST, "cannot read /proc");
	return TF_EXIT_OK;
}

static int check_result(const struct bench_side *side,
			const struct bench_measured *m)
{
	if (m->wrong_pages)
		return bench_fail(TF_EXIT_FAILED,
				  "%s: %zu pages changed their bytes",
				  side->name, m->wrong_pages);
	if (m->duplicates && !m->settled.counts.sharing)
		return bench_fail(TF_EXIT_FAILED, "%s: nothing is shared",
				  side->name);
	return TF_EXIT_OK;
}

int bench_measure(const struct bench_opts *opts, struct bench_side *side,
		  struct bench_measured *ret)
{
	struct readings before, after;
	struct bench_area area;
	int code = bench_area_create(opts, &area);

	if (code)
		return code;
	ret->duplicates = bench_area_duplicates(&area);
	ret->wrong_pages = bench_area_check(&area);
	code = take_readings(&area, &before);
	code = code ? code :
		      bench_settle(side, &area, BENCH_MAX_PASSES,
				   BENCH_STABLE_PASSES, &ret->settled);
	code = code ? code : side->rest(side);
	if (code)
		return code;
	ret->wrong_pages += bench_area_check(&area);
	code = take_readings(&area, &after);
	ret->saved_bytes = after.mem.free_bytes - before.mem.free_bytes;
	ret->kernel_bytes = after.mem.kernel_bytes - before.mem.kernel_bytes;
	ret->anon_bytes = (int64_t)(after.anon - before.anon);
	ret->vmas = after.vmas - before.vmas;
	return code ? code : check_result(side, ret);
}

static int measure(const struct bench_opts *opts, struct bench_side *side,
		   json_t *out)
{
	struct bench_measured m;
	int code = bench_measure(opts, side, &m);

	if (code)
		return code;
	bench_set_real(out, "cpu_s", (double)m.settled.cpu_ns / 1e9);
	bench_set_real(out, "wall_s", (double)m.settled.wall_ns / 1e9);
	bench_set_int(out, "shared", (int64_t)m.settled.counts.shared);
	bench_set_int(out, "sharing", (int64_t)m.settled.counts.sharing);
	bench_set_int(out, "zero_pages", (int64_t)m.settled.counts.zero_pages);
	bench_set_int(out, "net_saved_bytes", m.saved_bytes);
	bench_set_int(out, "vmas", m.vmas);
	bench_set_int(out, "passes", m.settled.passes);
	return TF_EXIT_OK;
}

static void join(const struct bench_opts *opts, json_t *top, json_t *twinfold,
		 json_t *ksm)
{
	(void)opts;
	json_object_set(top, "twinfold", twinfold);
	if (!ksm)
		return;
	json_object_set(top, "ksm", ksm);
	bench_set_ratio(top, "ratio_cpu", bench_get(ksm, "cpu_s"),
			bench_get(twinfold, "cpu_s"));
	bench_set_ratio(top, "ratio_wall", bench_get(ksm, "wall_s"),
			bench_get(twinfold, "wall_s"));
}

const struct bench_case bench_converge = {
	.name = "converge",
	.summary = "CPU and time until all is merged, memory saved",
	.default_mib = 256,
	.shapes = 1 << BENCH_SCATTERED | 1 << BENCH_RUNS | 1 << BENCH_ZERO |
		  1 << BENCH_UNIQUE,
	.has_ksm = true,
	.raises_map_count = true,
	.measure = measure,
	.join = join,
};
