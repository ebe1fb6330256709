/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * steady: what scanning costs when all is merged that can be. Passes follow
 * each other; before each, a fraction of the unique pages gets new, again
 * unique bytes. That rewriting is the guest's work: its CPU time is taken
 * out. Passes before the measured ones let smart scanning, which both sides
 * have, slow down as far as it will.
 */
#include <stdlib.h>

#include "agent/bench.h"

#define WARM_UP_PASSES 12

struct dirtier {
	const struct bench_area *area;
	uint32_t *pages; /* the unique ones, in an order that is reshuffled */
	size_t n, each_pass;
	uint64_t random;
	uint64_t cpu_ns;
};

static int dirtier_init(struct dirtier *d, const struct bench_opts *opts,
			const struct bench_area *area)
{
	*d = (struct dirtier){ .area = area, .random = opts->seed };
	d->pages = calloc(area->pages, sizeof(*d->pages));
	if (!d->pages)
		return bench_fail(TF_EXIT_FAILED, "out of memory");
	for (size_t i = 0; i < area->pages; i++)
		if (!bench_area_is_twin(area, i))
			d->pages[d->n++] = (uint32_t)i;
	d->each_pass = (size_t)(opts->dirty * (double)d->n + 0.5);
	return TF_EXIT_OK;
}

static void rewrite_some(struct dirtier *d)
{
	uint64_t start = bench_process_cpu_ns();

	for (size_t i = 0; i < d->each_pass; i++) {
		size_t pick = i + bench_random(&d->random) % (d->n - i);
		uint32_t page = d->pages[pick];

		d->pages[pick] = d->pages[i];
		d->pages[i] = page;
		d->area->gen[bench_area_id(d->area, page)]++;
		bench_area_write(d->area, page);
	}
	d->cpu_ns += bench_process_cpu_ns() - start;
}

static int run_passes(struct bench_side *side, struct dirtier *d,
		      unsigned passes, uint64_t *cpu_ns)
{
	uint64_t start = side->cpu_ns();
	int code = TF_EXIT_OK;

	d->cpu_ns = 0;
	for (unsigned i = 0; !code && i < passes; i++) {
		rewrite_some(d);
		code = side->pass(side);
	}
	*cpu_ns = side->cpu_ns() - start - (side->cpu_is_ours ? d->cpu_ns : 0);
	return code;
}

static int measure(const struct bench_opts *opts, struct bench_side *side,
		   json_t *out)
{
	struct bench_settled settled;
	struct bench_area area;
	struct dirtier d = { 0 };
	uint64_t cpu_ns, start;
	int code = bench_area_create(opts, &area);

	code = code ? code : dirtier_init(&d, opts, &area);
	code = code ? code :
		      bench_settle(side, &area, BENCH_MAX_PASSES,
				   BENCH_STABLE_PASSES, &settled);
	code = code ? code : run_passes(side, &d, WARM_UP_PASSES, &cpu_ns);
	start = bench_now_ns();
	code = code ? code : run_passes(side, &d, opts->passes, &cpu_ns);
	free(d.pages);
	if (code)
		return code;
	bench_set_real(out, "ns_per_page_pass",
		       (double)cpu_ns / (double)area.pages / opts->passes);
	bench_set_real(out, "ms_per_pass",
		       (double)(bench_now_ns() - start) / 1e6 / opts->passes);
	bench_set_int(out, "passes", opts->passes);
	bench_set_int(out, "sharing", (int64_t)settled.counts.sharing);
	return TF_EXIT_OK;
}

static void join(const struct bench_opts *opts, json_t *top, json_t *twinfold,
		 json_t *ksm)
{
	bench_set_real(top, "dirty", opts->dirty);
	json_object_set(top, "twinfold", twinfold);
	if (!ksm)
		return;
	json_object_set(top, "ksm", ksm);
	bench_set_ratio(top, "ratio", bench_get(ksm, "ns_per_page_pass"),
			bench_get(twinfold, "ns_per_page_pass"));
}

const struct bench_case bench_steady = {
	.name = "steady",
	.summary = "CPU of a pass when nothing is left to merge",
	.default_mib = 256,
	.shapes = 1 << BENCH_SCATTERED | 1 << BENCH_RUNS | 1 << BENCH_ZERO |
		  1 << BENCH_UNIQUE,
	.has_ksm = true,
	.raises_map_count = true,
	.measure = measure,
	.join = join,
};
