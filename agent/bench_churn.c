/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * churn: guests keep writing to what is shared. Each round picks half of the
 * contents, writes new bytes to all pages that have them (equal pages stay
 * equal), and lets the side settle. While pages are written no scanning
 * runs, on either side. The pages are read once before, so that their page
 * tables are there; then the first store to each is timed: the break.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/bench.h"

/*
 * Both sides look at a page that was written after merging less often, KSM
 * at every ninth scan only: few passes would not show where they settle.
 */
#define ROUND_MAX_PASSES 60
#define ROUND_STABLE_PASSES 20

struct churn {
	const struct bench_area *area;
	bool sequential;
	uint64_t random;
	uint32_t *ids;   /* contents that several pages have */
	uint32_t *list;  /* the pages written in this round, in order */
	uint8_t *picked; /* by content id */
	size_t n_ids, n_list;
	struct bench_times breaks;
	uint64_t break_cpu_ns, cpu_ns;
	unsigned passes;
};

static void churn_fini(struct churn *c)
{
	free(c->ids);
	free(c->list);
	free(c->picked);
	free(c->breaks.ns);
}

static int churn_init(struct churn *c, const struct bench_opts *opts,
		      const struct bench_area *area)
{
	*c = (struct churn){ .area = area,
			     .random = opts->seed,
			     .sequential = opts->sequential };
	c->ids = calloc(area->pages, sizeof(*c->ids));
	c->list = calloc(area->pages, sizeof(*c->list));
	c->picked = calloc(area->pages, sizeof(*c->picked));
	if (!c->ids || !c->list || !c->picked)
		return bench_fail(TF_EXIT_FAILED, "out of memory");
	for (size_t i = 0; i < area->pages; i++)
		if (bench_area_is_twin(area, i) && bench_area_id(area, i) == i)
			c->ids[c->n_ids++] = (uint32_t)i;
	return TF_EXIT_OK;
}

static void shuffle(uint32_t *v, size_t n, uint64_t *random)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = bench_random(random) % i;
		uint32_t t = v[j];

		v[j] = v[i - 1];
		v[i - 1] = t;
	}
}

/* In address order the two halves of the contents take turns. */
static void pick_pages(struct churn *c, unsigned round)
{
	size_t half = c->n_ids / 2;
	size_t from = c->sequential && round % 2 ? half : 0;

	if (!c->sequential)
		shuffle(c->ids, c->n_ids, &c->random);
	memset(c->picked, 0, c->area->pages);
	for (size_t i = from; i < from + half; i++) {
		c->picked[c->ids[i]] = 1;
		c->area->gen[c->ids[i]]++;
	}
	c->n_list = 0;
	for (size_t i = 0; i < c->area->pages; i++)
		if (bench_area_is_twin(c->area, i) &&
		    c->picked[bench_area_id(c->area, i)])
			c->list[c->n_list++] = (uint32_t)i;
	if (!c->sequential)
		shuffle(c->list, c->n_list, &c->random);
}

static void touch_pages(const struct churn *c)
{
	for (size_t i = 0; i < c->n_list; i++)
		(void)*(volatile uint64_t *)bench_page(c->area, c->list[i]);
}

static int break_pages(struct churn *c)
{
	uint64_t cpu = bench_process_cpu_ns();
	int code = TF_EXIT_OK;

	for (size_t i = 0; !code && i < c->n_list; i++) {
		volatile uint64_t *word = bench_page(c->area, c->list[i]);
		uint64_t start = bench_now_ns();

		*word = i;
		code = bench_times_add(&c->breaks, bench_now_ns() - start);
	}
	c->break_cpu_ns += bench_process_cpu_ns() - cpu;
	return code;
}

static int run_round(struct churn *c, struct bench_side *side, unsigned round,
		     struct bench_settled *ret)
{
	int code = side->rest(side);

	if (code)
		return code;
	pick_pages(c, round);
	touch_pages(c);
	code = break_pages(c);
	for (size_t i = 0; i < c->n_list; i++)
		bench_area_write(c->area, c->list[i]);
	code = code ? code :
		      bench_settle(side, c->area, ROUND_MAX_PASSES,
				   ROUND_STABLE_PASSES, ret);
	c->cpu_ns += ret->cpu_ns;
	c->passes += ret->passes;
	return code;
}

static int run_rounds(struct churn *c, struct bench_side *side, unsigned rounds,
		      struct bench_settled *ret)
{
	int code = bench_settle(side, c->area, BENCH_MAX_PASSES,
				BENCH_STABLE_PASSES, ret);
	size_t wrong;

	for (unsigned i = 0; !code && i < rounds; i++)
		code = run_round(c, side, i, ret);
	if (code)
		return code;
	wrong = bench_area_check(c->area);
	if (!wrong)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_FAILED, "%s: %zu pages changed their bytes",
			  side->name, wrong);
}

static void report(struct churn *c, const struct bench_settled *settled,
		   json_t *out)
{
	bench_set_int(out, "sharing", (int64_t)settled->counts.sharing);
	bench_set_real(out, "cpu_s", (double)c->cpu_ns / 1e9);
	bench_set_real(out, "break_cpu_s", (double)c->break_cpu_ns / 1e9);
	if (c->breaks.n)
		bench_set_real(out, "break_us_per_page",
			       bench_times_sum_us(&c->breaks) /
				       (double)c->breaks.n);
	bench_set_real(out, "break_p50_us", bench_times_us(&c->breaks, 0.5));
	bench_set_real(out, "break_p99_us", bench_times_us(&c->breaks, 0.99));
	bench_set_int(out, "writes", (int64_t)c->breaks.n);
	bench_set_int(out, "passes", c->passes);
}

static int measure(const struct bench_opts *opts, struct bench_side *side,
		   json_t *out)
{
	struct bench_settled settled = { 0 };
	struct bench_area area;
	struct churn c = { 0 };
	int code = bench_area_create(opts, &area);

	code = code ? code : churn_init(&c, opts, &area);
	code = code ? code : run_rounds(&c, side, opts->rounds, &settled);
	if (!code)
		report(&c, &settled, out);
	churn_fini(&c);
	return code;
}

static void join(const struct bench_opts *opts, json_t *top, json_t *twinfold,
		 json_t *ksm)
{
	bench_set_int(top, "rounds", opts->rounds);
	json_object_set_new(top, "pattern",
			    json_string(opts->sequential ? "sequential" :
							   "random"));
	json_object_set(top, "twinfold", twinfold);
	if (!ksm)
		return;
	json_object_set(top, "ksm", ksm);
	bench_set_ratio(top, "ratio_sharing", bench_get(twinfold, "sharing"),
			bench_get(ksm, "sharing"));
}

const struct bench_case bench_churn = {
	.name = "churn",
	.summary = "shared pages are rewritten again and again",
	.default_mib = 64,
	.shapes = 1 << BENCH_SCATTERED | 1 << BENCH_RUNS,
	.has_ksm = true,
	.raises_map_count = true,
	.measure = measure,
	.join = join,
};
