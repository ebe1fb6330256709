/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * heal: stable copies with 256 sharers each are lost one after the other, by
 * simulated faults. Timed: the touch of a sharer, which traps, waits for its
 * healing and goes on; and the whole of it, until the last of the sharers has
 * a healthy page. Then every page of every sharer is checked.
 *
 * And how the time to find the copy that an address belongs to grows with the
 * number of copies: the verdict on healthy pages, few copies against many.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/bench.h"
#include "twinfold/twinfold.h"

#define SHARERS 256u
#define FAULTS 64u
#define FEW 1000u
#define LOOKUPS 4000u
#define PASSES 4

/* What the kernel says of memory that a thread has consumed. */
#define MCEERR_AR 4

struct heal {
	struct tf_engine *engine;
	struct tf_guest *guest;
	unsigned char *base;
	size_t pages;
	struct bench_times touch, all;
	uint64_t began; /* of the touch that is under way */
	/* Set by the event. */
	_Atomic uint64_t all_ns;
};

static int failed(const char *what, int err)
{
	return bench_fail(TF_EXIT_FAILED, "%s: %s", what, strerror(-err));
}

/* In the healer's thread, when nothing is left to do for a fault. */
static void on_verdict(void *user, const struct tf_ras_verdict *verdict)
{
	struct heal *h = user;

	if (verdict->cls == TF_RAS_SHARED)
		h->all_ns = bench_now_ns() - h->began;
}

static uint64_t *word_of(const struct heal *h, size_t page)
{
	return (uint64_t *)(h->base + page * BENCH_PAGE);
}

static void fill_page(const struct heal *h, size_t page, uint64_t content)
{
	uint64_t random = content + 1;

	for (unsigned i = 0; i < BENCH_WORDS; i++)
		word_of(h, page)[i] = bench_random(&random);
}

static bool page_is(const struct heal *h, size_t page, uint64_t content)
{
	uint64_t random = content + 1;

	for (unsigned i = 0; i < BENCH_WORDS; i++)
		if (word_of(h, page)[i] != bench_random(&random))
			return false;
	return true;
}

/* Pages of content `page % contents`, settled and merged. */
static int heal_open(struct heal *h, size_t pages, size_t contents)
{
	struct tf_ras_opts ras = { .size = sizeof(ras),
				   .vmce_eventfd = -1,
				   .event = on_verdict,
				   .event_user = h };
	int code, err;

	h->pages = pages;
	h->base = mmap(NULL, pages * BENCH_PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (h->base == MAP_FAILED)
		return bench_fail(TF_EXIT_HOST,
				  "no memory for %zu pages; use "
				  "a smaller --mem",
				  pages);
	madvise(h->base, pages * BENCH_PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages; i++)
		fill_page(h, i, i % contents);
	code = bench_engine_open(h->base, pages * BENCH_PAGE,
				 (struct bench_engine){ .no_smart_scan = true },
				 &h->engine, &h->guest);
	if (code)
		return code;
	err = tf_ras_install(h->engine, &ras);
	for (int i = 0; !err && i < PASSES; i++)
		err = tf_engine_pass(h->engine, NULL);
	return err ? failed("healing cannot be set up", err) : TF_EXIT_OK;
}

static void heal_close(struct heal *h)
{
	tf_engine_destroy(h->engine);
	if (h->base && h->base != MAP_FAILED)
		munmap(h->base, h->pages * BENCH_PAGE);
	h->engine = NULL;
	h->base = NULL;
}

static int lose_and_touch(struct heal *h, size_t page)
{
	int err = tf_ras_inject(h->engine, h->guest, page * BENCH_PAGE,
				TF_INJECT_SIM);

	if (err)
		return failed("a fault cannot be injected", err);
	h->all_ns = 0;
	h->began = bench_now_ns();
	(void)*(volatile uint64_t *)word_of(h, page);
	err = bench_times_add(&h->touch, bench_now_ns() - h->began);
	while (!h->all_ns)
		;
	return err ? err : bench_times_add(&h->all, h->all_ns);
}

static int check_content(const struct heal *h, size_t content, size_t contents)
{
	for (size_t i = content; i < h->pages; i += contents)
		if (!page_is(h, i, content))
			return bench_fail(TF_EXIT_FAILED,
					  "page %zu has wrong bytes", i);
	return TF_EXIT_OK;
}

/* Two copies of each content, one of them is lost. */
static int measure_faults(struct heal *h, json_t *out)
{
	struct tf_stats st = { .size = sizeof(st) };
	int code = heal_open(h, (size_t)2 * SHARERS * FAULTS, FAULTS);

	for (size_t i = 0; !code && i < FAULTS; i++) {
		code = lose_and_touch(h, i);
		code = code ? code : check_content(h, i, FAULTS);
	}
	if (!code &&
	    (tf_engine_stats(h->engine, &st) || st.heals != FAULTS || st.vmces))
		code = bench_fail(TF_EXIT_FAILED,
				  "%llu of %u faults healed, %llu vMCEs",
				  (unsigned long long)st.heals, FAULTS,
				  (unsigned long long)st.vmces);
	heal_close(h);
	bench_set_int(out, "n", FAULTS);
	bench_set_int(out, "sharers", SHARERS);
	bench_set_real(out, "p50_us", bench_times_us(&h->touch, 0.5));
	bench_set_real(out, "p99_us", bench_times_us(&h->touch, 0.99));
	bench_set_real(out, "all_sharers_us", bench_times_us(&h->all, 0.5));
	return code;
}

/* Median time of a verdict on a healthy page, with so many copies. */
static int time_lookups(size_t copies, double *ret_us)
{
	struct heal h = { 0 };
	struct bench_times times = { 0 };
	uint64_t random = copies;
	int code = heal_open(&h, 2 * copies, copies);

	for (unsigned i = 0; !code && i < LOOKUPS; i++) {
		size_t page = bench_random(&random) % h.pages;
		siginfo_t info = { .si_code = MCEERR_AR,
				   .si_addr = word_of(&h, page) };
		struct tf_ras_verdict v = { .size = sizeof(v) };
		int err = tf_ras_handle(h.engine, &info, &v);

		if (err || v.cls != TF_RAS_SHARED)
			code = bench_fail(TF_EXIT_FAILED,
					  "page %zu is not shared", page);
		else
			code = bench_times_add(&times, v.ns);
	}
	*ret_us = bench_times_us(&times, 0.5);
	free(times.ns);
	heal_close(&h);
	return code;
}

static int measure(const struct bench_opts *opts, struct bench_side *side,
		   json_t *out)
{
	size_t many = bench_pages(opts->mem_mib) / 2;
	double few_us = 0, many_us = 0;
	struct heal h = { 0 };
	int code = measure_faults(&h, out);

	(void)side;
	free(h.touch.ns);
	free(h.all.ns);
	code = code ? code : time_lookups(FEW, &few_us);
	code = code ? code : time_lookups(many, &many_us);
	bench_set_int(out, "find_copies", (int64_t)many);
	bench_set_real(out, "find_us", many_us);
	bench_set_ratio(out, "find_ratio", many_us, few_us);
	return code;
}

const struct bench_case bench_heal = {
	.name = "heal",
	.summary = "from a memory error to a resumed guest",
	.default_mib = 8192,
	.raises_map_count = true,
	.measure = measure,
	.join = bench_join_alone,
};
