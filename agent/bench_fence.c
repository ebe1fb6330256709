/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fence: how long a writer to a fenced page waits.
 *
 * A small area of equal pages is un-merged, left alone until its pages have
 * settled, and merged by one pass while writers visit random pages of it at
 * full speed; then all over again. What has to be told apart is a fence, a
 * break (the first store to a merged page) and noise of the host:
 *
 *  - Whoever meets a fence or a break sleeps in the kernel, which is a
 *    voluntary context switch (getrusage). An access that took longer than
 *    5 us without one was preempted or interrupted, and is not counted.
 *  - A visit begins with loads, of other pages and then of its own. Loads
 *    never break, so one that slept has met a fence; it waits as a store
 *    would.
 *  - The first store of a visit may break, or meet a fence and then break:
 *    reported on its own as first_store, not as a pause.
 *  - It makes the page unlike any other. A later store of the visit that
 *    slept has met a fence that found the page changed and was undone; a
 *    changed page is not merged, so it cannot have been a break. The visit's
 *    last store puts the old bytes back.
 *
 * Pauses are the sleeping loads and later stores. A wait for the kernel's
 * lock of the address space, which merging holds, looks the same and is
 * counted: to the writer it is.
 *
 * Each writer owns one word of every page and knows what it holds; a visit
 * checks its loads and stores, and all pages are checked at the end. No
 * locks: writers meet the merging thread at two barriers, before and after
 * the pass.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/bench.h"
#include "agent/bench_writer.h"
#include "twinfold/twinfold.h"

#define MAX_SETTLE_PASSES 20

struct fence {
	struct bench_area area;
	struct tf_engine *engine;
	struct tf_guest *guest;
	struct bench_writers all;
	struct bench_writer *writers;
	unsigned n_writers;
	unsigned idle_passes; /* before the pass that merges */
	uint64_t cycles, merged, changed, busy;
};

static int pass(struct fence *f, struct tf_pass *ret)
{
	int err;

	*ret = (struct tf_pass){ .size = sizeof(*ret) };
	err = tf_engine_pass(f->engine, ret);
	if (!err)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_FAILED, "tf_engine_pass: %s", strerror(-err));
}

static int unmerge(struct fence *f)
{
	int err = tf_guest_unmerge(f->guest, 0, f->area.pages * BENCH_PAGE);

	if (!err)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_FAILED, "tf_guest_unmerge: %s",
			  strerror(-err));
}

/* How many passes after un-merging do nothing yet? */
static int calibrate(struct fence *f)
{
	struct tf_pass p = { 0 };
	int code = TF_EXIT_OK;

	for (unsigned i = 0; !code && i < MAX_SETTLE_PASSES; i++)
		code = pass(f, &p);
	code = code ? code : unmerge(f);
	for (unsigned i = 0; !code && i < MAX_SETTLE_PASSES; i++) {
		code = pass(f, &p);
		f->idle_passes = i;
		if (p.merged)
			return code;
	}
	return code ? code :
		      bench_fail(TF_EXIT_FAILED,
				 "un-merged pages do not merge again");
}

static int cycle(struct fence *f)
{
	struct tf_pass p;
	int code = unmerge(f);

	for (unsigned i = 0; !code && i < f->idle_passes; i++)
		code = pass(f, &p);
	atomic_store(&f->all.merging, true);
	pthread_barrier_wait(&f->all.barrier);
	if (!code)
		code = pass(f, &p);
	atomic_store(&f->all.merging, false);
	pthread_barrier_wait(&f->all.barrier);
	if (code)
		return code;
	f->cycles++;
	f->merged += p.merged;
	f->changed += p.changed;
	f->busy += p.busy;
	return TF_EXIT_OK;
}

static int run_cycles(struct fence *f, double seconds)
{
	uint64_t end = bench_now_ns() + (uint64_t)(seconds * 1e9);
	int code = TF_EXIT_OK;

	while (!code && bench_now_ns() < end)
		code = cycle(f);
	atomic_store(&f->all.over, true);
	pthread_barrier_wait(&f->all.barrier);
	return code;
}

static int start_writers(struct fence *f, uint64_t seed)
{
	int code = TF_EXIT_OK;

	for (unsigned i = 0; !code && i < f->n_writers; i++) {
		f->writers[i] =
			(struct bench_writer){ .index = i, .random = seed + i };
		code = bench_writer_start(&f->all, &f->writers[i]);
	}
	return code;
}

static unsigned count_writers(const struct bench_opts *opts)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = opts->writers ? opts->writers : (unsigned)cpus - 1;

	if (n < 1)
		n = 1;
	return n < BENCH_MAX_WRITERS ? n : BENCH_MAX_WRITERS;
}

static int fence_init(struct fence *f, const struct bench_opts *opts)
{
	int code = bench_area_create(opts, &f->area);

	if (code)
		return code;
	f->all.area = &f->area;
	f->n_writers = count_writers(opts);
	f->writers = calloc(f->n_writers, sizeof(*f->writers));
	f->all.pages = calloc(f->area.pages, sizeof(*f->all.pages));
	if (!f->writers || !f->all.pages ||
	    pthread_barrier_init(&f->all.barrier, NULL, f->n_writers + 1))
		return bench_fail(TF_EXIT_FAILED, "out of memory");
	for (size_t i = 0; i < f->area.pages; i++)
		if (bench_area_is_twin(&f->area, i))
			f->all.pages[f->all.n_pages++] = (uint32_t)i;
	return bench_engine_open(f->area.base, f->area.pages * BENCH_PAGE,
				 (struct bench_engine){ .no_smart_scan = true },
				 &f->engine, &f->guest);
}

static int append(struct bench_times *to, const struct bench_times *from)
{
	int code = TF_EXIT_OK;

	for (size_t i = 0; !code && i < from->n; i++)
		code = bench_times_add(to, from->ns[i]);
	return code;
}

static int report(struct fence *f, json_t *out)
{
	struct bench_times pauses = { 0 }, first = { 0 };
	uint64_t visits = 0, lost = 0, wrong = 0, loads = 0, stores = 0;
	int code = TF_EXIT_OK;

	for (unsigned i = 0; i < f->n_writers; i++) {
		struct bench_writer *w = &f->writers[i];

		code |= w->code | append(&pauses, &w->loads) |
			append(&pauses, &w->later_stores) |
			append(&first, &w->first_stores);
		visits += w->visits;
		lost += w->lost;
		wrong += w->wrong_loads;
		loads += w->loads.n;
		stores += w->later_stores.n;
	}
	bench_set_int(out, "writers", f->n_writers);
	bench_set_real(out, "pause_p50_us", bench_times_us(&pauses, 0.5));
	bench_set_real(out, "pause_p99_us", bench_times_us(&pauses, 0.99));
	bench_set_real(out, "pause_max_us", bench_times_us(&pauses, 1));
	bench_set_int(out, "pauses", (int64_t)pauses.n);
	bench_set_int(out, "paused_loads", (int64_t)loads);
	bench_set_int(out, "paused_stores", (int64_t)stores);
	bench_set_real(out, "first_store_p50_us", bench_times_us(&first, 0.5));
	bench_set_real(out, "first_store_p99_us", bench_times_us(&first, 0.99));
	bench_set_int(out, "visits", (int64_t)visits);
	bench_set_int(out, "cycles", (int64_t)f->cycles);
	bench_set_int(out, "merged", (int64_t)f->merged);
	bench_set_int(out, "changed", (int64_t)f->changed);
	bench_set_int(out, "busy", (int64_t)f->busy);
	bench_set_int(out, "lost_writes", (int64_t)lost);
	bench_set_int(out, "wrong_loads", (int64_t)wrong);
	if (!code && (lost || wrong))
		code = bench_fail(
			TF_EXIT_FAILED,
			"%llu writes were lost, %llu loads were wrong",
			(unsigned long long)lost, (unsigned long long)wrong);
	if (!code && !pauses.n)
		code = bench_fail(TF_EXIT_FAILED,
				  "no writer met a fence; "
				  "measure longer with --seconds");
	free(pauses.ns);
	free(first.ns);
	return code;
}

static int measure(const struct bench_opts *opts, struct bench_side *side,
		   json_t *out)
{
	static struct fence f;
	int code = fence_init(&f, opts);

	(void)side;
	code = code ? code : calibrate(&f);
	code = code ? code : start_writers(&f, opts->seed);
	if (code)
		return code;
	code = run_cycles(&f, opts->seconds);
	for (unsigned i = 0; i < f.n_writers; i++)
		pthread_join(f.writers[i].thread, NULL);
	if (code)
		return code;
	code = report(&f, out);
	if (bench_area_check(&f.area))
		code = bench_fail(TF_EXIT_FAILED,
				  "pages do not have their old bytes");
	return code;
}

const struct bench_case bench_fence = {
	.name = "fence",
	.summary = "how long a writer to a fenced page waits",
	.default_mib = 8,
	.shapes = 1 << BENCH_SCATTERED | 1 << BENCH_RUNS,
	.raises_map_count = true,
	.measure = measure,
	.join = bench_join_alone,
};
