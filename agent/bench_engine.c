/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * This side: the engine, through its public API alone. A pass runs in the
 * caller's thread; everything the process computes is its CPU time.
 */
#include <stdio.h>
#include <string.h>

#include "agent/bench.h"
#include "twinfold/twinfold.h"

static void log_line(void *user, enum tf_log_level level, const char *line)
{
	(void)user;
	if (level <= TF_LOG_WARNING)
		fprintf(stderr, "twinfold bench: engine: %s\n", line);
}

static int failed(const char *what, int err)
{
	return bench_fail(TF_EXIT_FAILED, "%s: %s", what, strerror(-err));
}

static int check_can_merge(struct tf_engine *engine)
{
	struct tf_stats st = { .size = sizeof(st) };
	int err = tf_engine_stats(engine, &st);

	if (err)
		return failed("tf_engine_stats", err);
	if (st.can_merge)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_HOST,
			  "this kernel cannot merge from user space; "
			  "userfaultfd with UFFDIO_MOVE (6.8) is needed");
}

int bench_engine_open(void *base, size_t bytes, struct bench_engine how,
		      struct tf_engine **engine, struct tf_guest **guest)
{
	struct tf_engine_opts opts;
	int err, code;

	tf_engine_opts_init(&opts);
	opts.smart_scan = !how.no_smart_scan;
	opts.scatter = how.scatter_ksm ? TF_SCATTER_KSM : TF_SCATTER_OWN;
	opts.log = log_line;
	err = tf_engine_create(&opts, engine);
	if (err)
		return failed("tf_engine_create", err);
	code = check_can_merge(*engine);
	if (code)
		return code;
	err = tf_guest_create(*engine, NULL, guest);
	if (err)
		return failed("tf_guest_create", err);
	err = tf_guest_add_memslot(*guest, 0, 0, base, bytes);
	return err ? failed("tf_guest_add_memslot", err) : TF_EXIT_OK;
}

static int open_side(struct bench_side *side, const struct bench_area *area)
{
	return bench_engine_open(area->base, area->pages * BENCH_PAGE,
				 (struct bench_engine){ 0 }, &side->engine,
				 &side->guest);
}

static int pass(struct bench_side *side)
{
	int err = tf_engine_pass(side->engine, NULL);

	return err ? failed("tf_engine_pass", err) : TF_EXIT_OK;
}

static int rest(struct bench_side *side)
{
	(void)side;
	return TF_EXIT_OK;
}

static int counts(struct bench_side *side, struct bench_counts *ret)
{
	struct tf_stats st = { .size = sizeof(st) };
	int err = tf_engine_stats(side->engine, &st);

	if (err)
		return failed("tf_engine_stats", err);
	ret->shared = st.pages_shared;
	ret->sharing = st.pages_sharing + st.zero_pages;
	ret->zero_pages = st.zero_pages;
	return TF_EXIT_OK;
}

static uint64_t metadata(struct bench_side *side)
{
	struct tf_stats st = { .size = sizeof(st) };

	return tf_engine_stats(side->engine, &st) ? 0 : st.metadata_bytes;
}

const struct bench_side bench_twinfold = {
	.name = "twinfold",
	.open = open_side,
	.pass = pass,
	.rest = rest,
	.counts = counts,
	.cpu_ns = bench_process_cpu_ns,
	.cpu_is_ours = true,
	.metadata = metadata,
};
