/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other side: the kernel's KSM on the same area. The parent has set its
 * settings; here ksmd is only let run and held. A pass lets it run until it
 * has ended one more full scan, and leaves it running; CPU time is ksmd's.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "agent/bench.h"
#include "agent/ksm.h"

#define SCAN_TIMEOUT_NS (600ull * 1000 * 1000 * 1000)

static int failed(const char *what, int err)
{
	return bench_fail(TF_EXIT_FAILED, "KSM: %s: %s", what, strerror(-err));
}

static int open_side(struct bench_side *side, const struct bench_area *area)
{
	(void)side;
	if (madvise(area->base, area->pages * BENCH_PAGE, MADV_MERGEABLE))
		return failed("madvise(MADV_MERGEABLE)", -errno);
	return TF_EXIT_OK;
}

static int pass(struct bench_side *side)
{
	const struct timespec pause = { .tv_nsec = 500 * 1000 };
	uint64_t end = bench_now_ns() + SCAN_TIMEOUT_NS;
	struct ksm_counts before, now;
	int err = ksm_counts(&before);

	(void)side;
	err = err ? err : ksm_run(true);
	while (!err) {
		nanosleep(&pause, NULL);
		err = ksm_counts(&now);
		if (!err && now.full_scans > before.full_scans)
			return TF_EXIT_OK;
		if (bench_now_ns() > end)
			err = -ETIMEDOUT;
	}
	return failed("full scan", err);
}

static int rest(struct bench_side *side)
{
	int err = ksm_run(false);

	(void)side;
	return err ? failed("cannot hold ksmd", err) : TF_EXIT_OK;
}

static int counts(struct bench_side *side, struct bench_counts *ret)
{
	struct ksm_counts c;
	int err = ksm_counts(&c);

	(void)side;
	if (err)
		return failed("counters", err);
	ret->shared = c.shared;
	ret->sharing = c.sharing + c.zero_pages;
	ret->zero_pages = c.zero_pages;
	return TF_EXIT_OK;
}

static uint64_t cpu_ns(void)
{
	uint64_t ns = 0;

	return ksm_cpu_ns(&ns) ? 0 : ns;
}

static uint64_t metadata(struct bench_side *side)
{
	(void)side;
	return 0;
}

const struct bench_side bench_ksm = {
	.name = "ksm",
	.open = open_side,
	.pass = pass,
	.rest = rest,
	.counts = counts,
	.cpu_ns = cpu_ns,
	.metadata = metadata,
};
