/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How pages of a drill's guests come to be shared: by the engine, or, in the
 * baseline, by the kernel's KSM, which is asked for with MADV_MERGEABLE as VMMs
 * do it.
 */
#include "agent/drillhost/world_merge.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "agent/clock.h"
#include "agent/knob.h"
#include "agent/ksm.h"

#define KSM "/sys/kernel/mm/ksm/"
#define MERGE_S 60
#define SCANS_MORE 3
#define STILL_S 10 /* a scan takes milliseconds */

/* Zeros are a content like others where the zero page is not used. */
static uint64_t with_twin(struct world *w)
{
	uint64_t n = faults_count(&w->faults, TF_WORK_COMMON) +
		     faults_count(&w->faults, TF_WORK_TWIN);

	if (w->engine && !w->opts.engine.use_zero_pages)
		n += faults_count(&w->faults, TF_WORK_ZERO);
	return n;
}

/* Only then does the book say what has a source. */
static bool is_folded(struct world *w)
{
	struct tf_stats s = { .size = sizeof(s) };
	uint64_t twins = with_twin(w);

	if (tf_engine_stats(w->engine, &s))
		return false;
	if (w->opts.engine.min_copies > 1 && s.pages_recoverable < twins)
		return false;
	return s.pages_shared + s.pages_sharing >= twins &&
	       (!w->opts.engine.use_zero_pages ||
		s.zero_pages >= faults_count(&w->faults, TF_WORK_ZERO));
}

/* So much is merged, and two scans since then have changed nothing. */
static bool is_ksm_done(struct world *w)
{
	static uint64_t before, scans;
	struct ksm_counts c;

	if (ksm_counts(&c) || c.shared + c.sharing < with_twin(w))
		return false;
	if (c.shared + c.sharing != before) {
		before = c.shared + c.sharing;
		scans = c.full_scans;
	}
	return c.full_scans >= scans + SCANS_MORE;
}

/* The kernel's thread has ended, in an Oops of its own. */
static bool is_ksm_dead(void)
{
	static uint64_t scans;
	static double moved;
	struct ksm_counts c = { 0 };

	ksm_counts(&c);
	if (!moved || c.full_scans != scans) {
		scans = c.full_scans;
		moved = clock_s();
	}
	return clock_s() - moved > STILL_S;
}

static int wait_for(struct world *w, bool (*done)(struct world *))
{
	double end = clock_s() + MERGE_S;
	int r = world_look(w);

	while (!r && !done(w)) {
		world_rest();
		r = world_look(w);
		if (!r && !w->engine && is_ksm_dead())
			r = world_failed(w, "the kernel merges no more", -EIO);
		else if (!r && clock_s() > end)
			r = world_failed(w, "pages with twins are not merged",
					 -ETIMEDOUT);
	}
	return r;
}

static int merge_by_engine(struct world *w)
{
	int r = tf_engine_start(w->engine);

	return r ? world_failed(w, "the engine cannot be started", r) :
		   wait_for(w, is_folded);
}

static int offer(struct world *w, unsigned n)
{
	struct tf_vm *vm = tf_work_vm(w->faults.guest[n].work);
	size_t half = (size_t)w->opts.mem_mib << 19;
	void *low = tf_vm_hva(vm, 0, half);
	void *high = tf_vm_hva(vm, TF_WORK_HIGH_GPA, half);

	return !low || !high || madvise(low, half, MADV_MERGEABLE) ||
			       madvise(high, half, MADV_MERGEABLE) ?
		       -errno :
		       0;
}

static int merge_by_ksm(struct world *w)
{
	int r = 0;

	for (unsigned n = 0; n < w->faults.nguests && !r; n++)
		r = offer(w, n);
	if (!r && w->opts.engine.size)
		r = knob_write(KSM "merge_across_nodes",
			       w->opts.engine.merge_across_nodes ? "1" : "0");
	if (!r)
		r = knob_write(KSM "sleep_millisecs", "5");
	if (!r)
		r = knob_write(KSM "pages_to_scan", "2000");
	if (!r)
		r = knob_write(KSM_RUN, "1");
	return r ? world_failed(w, "KSM cannot be started", r) :
		   wait_for(w, is_ksm_done);
}

int world_merge(struct world *world)
{
	return world->engine ? merge_by_engine(world) : merge_by_ksm(world);
}
