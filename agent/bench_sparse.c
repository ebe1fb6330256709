/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sparse: guest RAM of many TiB with three populated pages, at its begin,
 * middle and end; the first two are equal and get merged. Times are those of
 * the public calls over one registered memslot.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/bench.h"
#include "twinfold/twinfold.h"

#define MERGE_PASSES 20
#define TIMED_PASSES 10

struct sparse {
	unsigned char *base;
	size_t bytes;
	struct tf_engine *engine;
	struct tf_guest *guest;
	double first_ms, pass_ms, unmerge_ms, delete_ms;
};

static unsigned char *populated(const struct sparse *s, int i)
{
	const size_t at[] = { 0, s->bytes / 2, s->bytes - BENCH_PAGE };

	return s->base + at[i];
}

static unsigned char expected(int i)
{
	return i == 2 ? 0x33 : 0x11;
}

static int map_area(struct sparse *s, unsigned tib)
{
	s->bytes = (size_t)tib << 40;
	s->base = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->base == MAP_FAILED)
		return bench_fail(TF_EXIT_HOST, "cannot map %u TiB: %s", tib,
				  strerror(errno));
	madvise(s->base, s->bytes, MADV_NOHUGEPAGE);
	for (int i = 0; i < 3; i++)
		memset(populated(s, i), expected(i), BENCH_PAGE);
	return TF_EXIT_OK;
}

static double ms_since(uint64_t start)
{
	return (double)(bench_now_ns() - start) / 1e6;
}

static int timed_pass(struct sparse *s, double *ms)
{
	uint64_t start = bench_now_ns();
	int err = tf_engine_pass(s->engine, NULL);

	*ms = ms_since(start);
	if (!err)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_FAILED, "tf_engine_pass: %s", strerror(-err));
}

static uint64_t sharing(const struct sparse *s)
{
	struct tf_stats st = { .size = sizeof(st) };

	return tf_engine_stats(s->engine, &st) ? 0 : st.pages_sharing;
}

static int merge_pair(struct sparse *s)
{
	double ms;
	int code = timed_pass(s, &s->first_ms);

	for (int i = 0; !code && !sharing(s) && i < MERGE_PASSES; i++)
		code = timed_pass(s, &ms);
	if (code || sharing(s))
		return code;
	return bench_fail(TF_EXIT_FAILED, "the two equal pages did not merge");
}

static int time_passes(struct sparse *s)
{
	double ms[TIMED_PASSES];
	int code = TF_EXIT_OK;

	for (int i = 0; !code && i < TIMED_PASSES; i++)
		code = timed_pass(s, &ms[i]);
	s->pass_ms = code ? 0 : bench_median(ms, TIMED_PASSES);
	return code;
}

static int time_leaving(struct sparse *s)
{
	uint64_t start = bench_now_ns();
	int err = tf_guest_unmerge(s->guest, 0, s->bytes);

	s->unmerge_ms = ms_since(start);
	if (err || sharing(s))
		return bench_fail(TF_EXIT_FAILED, "tf_guest_unmerge: %s",
				  err ? strerror(-err) : "pages still shared");
	start = bench_now_ns();
	err = tf_guest_del_memslot(s->guest, 0);
	s->delete_ms = ms_since(start);
	if (err)
		return bench_fail(TF_EXIT_FAILED, "tf_guest_del_memslot: %s",
				  strerror(-err));
	return TF_EXIT_OK;
}

static int check_bytes(const struct sparse *s)
{
	for (int i = 0; i < 3; i++)
		for (size_t b = 0; b < BENCH_PAGE; b++)
			if (populated(s, i)[b] != expected(i))
				return bench_fail(TF_EXIT_FAILED,
						  "page %d: wrong bytes", i);
	return TF_EXIT_OK;
}

static int measure(const struct bench_opts *opts, struct bench_side *side,
		   json_t *out)
{
	struct sparse s = { 0 };
	int code = map_area(&s, opts->tib);

	(void)side;
	code = code ? code :
		      bench_engine_open(s.base, s.bytes,
					(struct bench_engine){ 0 }, &s.engine,
					&s.guest);
	code = code ? code : merge_pair(&s);
	code = code ? code : time_passes(&s);
	code = code ? code : check_bytes(&s);
	code = code ? code : time_leaving(&s);
	code = code ? code : check_bytes(&s);
	if (code)
		return code;
	bench_set_int(out, "tib", opts->tib);
	bench_set_int(out, "populated", 3);
	bench_set_real(out, "first_pass_ms", s.first_ms);
	bench_set_real(out, "pass_ms", s.pass_ms);
	bench_set_real(out, "unmerge_ms", s.unmerge_ms);
	bench_set_real(out, "del_memslot_ms", s.delete_ms);
	return TF_EXIT_OK;
}

const struct bench_case bench_sparse = {
	.name = "sparse",
	.summary = "one pass over many TiB with three populated pages",
	.measure = measure,
	.join = bench_join_alone,
};
