/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See inner.h: one fault. */
#include <errno.h>
#include <time.h>

#include "agent/drillhost/inner.h"
#include "agent/drillhost/monitor.h"
#include "agent/knob.h"
#include "agent/ksm.h"

#define ROUNDS 3
#define STOP_TRIES 40

static int resume(struct inner *inner)
{
	int r = monitor_resume(&inner->qmp);

	if (!r)
		return 0;
	/* Perhaps it has just ended. */
	return inner_look(inner) ? -ESRCH :
				   inner_failed(inner, "QEMU's monitor", r);
}

/* Hold the guest still, at a moment when the page has a frame: nothing is read
 * between the loss of bytes and the machine check, as in hardware. */
static int stop_with_frame(struct inner *inner, enum inner_kind kind,
			   uint64_t *pa)
{
	static const struct timespec pause = { .tv_nsec = 50000000 };
	int r = -ENOENT;

	for (int i = 0; r == -ENOENT && i < STOP_TRIES; i++) {
		r = monitor_stop(&inner->qmp);
		if (!r)
			r = inner_look(inner);
		if (!r)
			r = inner_pa(inner, inner->now.gpa[kind], pa);
		if (r == -ENOENT && !resume(inner))
			nanosleep(&pause, NULL);
	}
	return r ? inner_failed(inner, "the victim has no frame", r) : 0;
}

/* Nor does whoever merges read it: ksmd would copy lost bytes as good ones. */
static void hold_ksm(const struct inner *inner, bool hold)
{
	if (inner->cell->row->configuration == ROW_BASELINE)
		knob_write(KSM_RUN, hold ? "0" : "1");
}

static int lose(struct inner *inner, enum inner_kind kind)
{
	uint64_t pa = 0;
	int r;

	hold_ksm(inner, true);
	r = stop_with_frame(inner, kind, &pa);
	if (r)
		return r;
	r = victim_lose(inner->cell, pa, LOSE_DEFERRED);
	if (r)
		return inner_failed(inner, "no machine check can be raised", r);
	r = victim_wait(++inner->corrupted);
	if (r)
		return inner_failed(inner, "the kernel knows of no lost page",
				    r);
	hold_ksm(inner, false);
	return resume(inner);
}

/* The frame of the library's zero pages is the kernel's own, and no system
 * survives the loss of that: this page of the guest's alone is lost. */
static int lose_zero_page(struct inner *inner)
{
	json_t *answer = NULL;
	int r;

	inner->cell->row->faults++;
	r = inner_ask(inner,
		      json_pack("{s:s,s:{s:I,s:s}}", "execute", "inject",
				"arguments", "gpa",
				(json_int_t)inner->now.gpa[INNER_ZERO], "how",
				"sim"),
		      &answer);
	json_decref(answer);
	return r;
}

void inner_one_fault(struct cell *cell, const struct inner_fault *fault)
{
	static struct inner inner;
	bool zero = fault->kind == INNER_ZERO &&
		    cell->row->configuration == ROW_TWINFOLD;
	uint64_t gpa;
	int r = inner_start(cell, &fault->opts, &inner);

	if (!r)
		r = inner_merge(&inner, fault->kind);
	gpa = inner.now.gpa[fault->kind];
	if (!r)
		r = zero ? lose_zero_page(&inner) : lose(&inner, fault->kind);
	if (!r)
		r = inner_rounds(&inner, ROUNDS);
	if (!r)
		inner_judge(&inner, gpa, fault->kind);
	if (*cell->row->why)
		inner_print(&inner);
}
