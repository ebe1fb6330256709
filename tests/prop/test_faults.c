/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One scenario that visits all of the engine, run once to count the calls of
 * the kernel seam, and then again for every kind of call and every number:
 * that call fails, with each errno it may fail with, or it and all later
 * ones. After each the invariants hold, no byte is lost, nobody is stuck, and
 * nothing stays behind.
 *
 * Not made to fail: wake, signal, drain, now_ns, which cannot with valid
 * arguments; and poll and uffd_read for ever, without which no fault of a
 * guest can be answered at all.
 *
 * ctest-timeout: 300
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/prop.h"
#include "tests/lib/prop_scenario.h"

/* The first calls of a kind all fail in turn, of the rest so many. */
#define CALLS_FIRST 20u
#define CALLS_MAX 30u

struct failure {
	enum fault_kind kind;
	int err;
	enum fault_how how;
	bool once_only;
};

static const struct failure failures[] = {
	{ FAULT_MAP, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_MAP, ENOMEM, FAULT_GONE, false },
	{ FAULT_UNMAP, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_REMAP_OVER, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_REMAP_OVER, ENOMEM, FAULT_GONE, false },
	{ FAULT_ADVISE, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_ADVISE, EAGAIN, FAULT_CLEAN, false },
	{ FAULT_ADVISE, EINVAL, FAULT_CLEAN, false },
	{ FAULT_POLICY, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_MEMFD, EMFILE, FAULT_CLEAN, false },
	{ FAULT_WRITE_AT, ENOSPC, FAULT_CLEAN, false },
	{ FAULT_WRITE_AT, EHWPOISON, FAULT_CLEAN, false },
	{ FAULT_WRITE_AT, ENOSPC, FAULT_SHORT, false },
	{ FAULT_PUNCH, EINTR, FAULT_CLEAN, false },
	{ FAULT_UFFD_OPEN, EMFILE, FAULT_CLEAN, false },
	{ FAULT_UFFD_OPEN, EPERM, FAULT_CLEAN, false },
	{ FAULT_UFFD_OPEN, EOPNOTSUPP, FAULT_CLEAN, false },
	{ FAULT_UFFD_REGISTER, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_UFFD_REGISTER, EBUSY, FAULT_CLEAN, false },
	{ FAULT_UFFD_UNREGISTER, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_UFFD_PROTECT, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_UFFD_PROTECT, EAGAIN, FAULT_CLEAN, false },
	{ FAULT_UFFD_MOVE, EBUSY, FAULT_CLEAN, false },
	{ FAULT_UFFD_MOVE, EAGAIN, FAULT_CLEAN, false },
	{ FAULT_UFFD_MOVE, EINVAL, FAULT_CLEAN, false },
	{ FAULT_UFFD_MOVE, EBUSY, FAULT_SHORT, false },
	{ FAULT_UFFD_MOVE, EEXIST, FAULT_DONE, false },
	{ FAULT_UFFD_ZEROPAGE, EAGAIN, FAULT_CLEAN, true },
	{ FAULT_UFFD_ZEROPAGE, ENOMEM, FAULT_CLEAN, true },
	{ FAULT_UFFD_ZEROPAGE, EAGAIN, FAULT_SHORT, true },
	{ FAULT_UFFD_READ, EAGAIN, FAULT_CLEAN, true },
	{ FAULT_PAGEMAP_OPEN, EMFILE, FAULT_CLEAN, false },
	{ FAULT_PAGEMAP_SCAN, ENOMEM, FAULT_CLEAN, false },
	{ FAULT_PAGEMAP_SCAN, EINTR, FAULT_CLEAN, false },
	{ FAULT_PAGEMAP_READ, EIO, FAULT_CLEAN, false },
	{ FAULT_POLL, EINTR, FAULT_CLEAN, true },
	{ FAULT_EVENTFD, EMFILE, FAULT_CLEAN, false },
	{ FAULT_CLOSE, EIO, FAULT_CLEAN, false },
	{ FAULT_RANDOM, EAGAIN, FAULT_CLEAN, false },
	{ FAULT_READ_FILE, EMFILE, FAULT_CLEAN, false },
	{ FAULT_HASH, EHWPOISON, FAULT_CLEAN, false },
	{ FAULT_EQUAL, EHWPOISON, FAULT_CLEAN, false },
	{ FAULT_COPY, EHWPOISON, FAULT_CLEAN, false },
};

static char now_failing[120] = "nothing";

static void run_one(const struct failure *f, unsigned at, unsigned n,
		    enum tf_scan_mode mode, const struct leak *before)
{
	struct rig r;

	snprintf(now_failing, sizeof(now_failing),
		 "%s number %u%s, errno %d, way %d, scan mode %d",
		 os_fault_name(f->kind), at,
		 n == FAULT_FOR_EVER ? " and all later ones" : "", f->err,
		 (int)f->how, (int)mode);
	prop_note("%s", now_failing);
	rig_open(&r);
	r.opts.scan_mode = mode;
	os_fault_set(&r.fault, f->kind, at, n, f->err, f->how);
	scenario_run(&r, before, now_failing);
}

static unsigned run_failure(const struct failure *f, unsigned calls,
			    enum tf_scan_mode mode, const struct leak *before)
{
	unsigned step = 1 + calls / CALLS_MAX, runs = 0;

	for (unsigned at = 0; at < calls; at += at < CALLS_FIRST ? 1 : step) {
		run_one(f, at, 1, mode, before);
		runs++;
		if (f->once_only)
			continue;
		run_one(f, at, FAULT_FOR_EVER, mode, before);
		runs++;
	}
	return runs;
}

static void count_calls(unsigned calls[FAULT_KINDS + 1], enum tf_scan_mode mode)
{
	struct tf_stats s = { .size = sizeof(s) };
	struct leak before;
	struct rig r;

	rig_open(&r);
	r.opts.scan_mode = mode;
	leak_take(&before);
	before.maps = ~0u;
	if (rig_start(&r))
		prop_fail("the engine does not start");
	tf_engine_stats(r.engine, &s);
	if (!s.can_merge)
		prop_skip("this host cannot merge");
	rig_end(&r);
	scenario_run(&r, &before, now_failing);
	for (unsigned k = 0; k <= FAULT_KINDS; k++)
		calls[k] = atomic_load(&r.fault.calls[k]);
}

static void run_mode(enum tf_scan_mode mode)
{
	const size_t n = sizeof(failures) / sizeof(failures[0]);
	unsigned calls[FAULT_KINDS + 1], runs = 0;
	struct leak before;

	snprintf(now_failing, sizeof(now_failing), "nothing");
	count_calls(calls, mode);
	leak_take(&before);
	for (size_t i = 0; i < n; i++)
		runs += run_failure(&failures[i], calls[failures[i].kind], mode,
				    &before);
	printf("scan mode %d: %u calls, %u runs\n", (int)mode, calls[FAULT_ANY],
	       runs);
	PROP_EXPECT(calls[FAULT_UFFD_MOVE] && calls[FAULT_REMAP_OVER] &&
			    calls[FAULT_PUNCH] && calls[FAULT_UFFD_ZEROPAGE] &&
			    scenario_bridged,
		    "the scenario does not visit what it should");
}

int main(void)
{
	prop_begin("test_faults");
	run_mode(TF_SCAN_AUTO);
	run_mode(TF_SCAN_HASH);
	return 0;
}
