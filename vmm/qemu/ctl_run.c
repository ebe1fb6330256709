/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the commands of the control socket do: pass, start, stop, inject,
 * unmerge. Called with arguments whose names and types hold, by a thread that
 * holds on to the engine (tq_life_hold()).
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "vmm/qemu/ctl.h"
#include "vmm/qemu/preload.h"

static void fail_errno(struct tq_reply *r, const char *what, int err)
{
	if (err == -EOPNOTSUPP)
		r->class = "NotSupported";
	tq_ctl_fail(r, "%s: %s", what, strerror(-err));
}

static void put(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

void tq_ctl_pass(const json_t *args, struct tq_reply *r)
{
	struct tf_pass p = { .size = sizeof(p) };
	int err = tq_scan_pass(&p);

	(void)args;
	if (err) {
		fail_errno(r,
			   err == -EPERM     ? "merging is off, see stats" :
			   err == -ECANCELED ? "merging was switched off" :
					       "the pass failed",
			   err);
		return;
	}
	r->ret = json_object();
	put(r->ret, "pages_scanned", p.pages_scanned);
	put(r->ret, "pages_hashed", p.pages_hashed);
	put(r->ret, "pages_volatile", p.pages_volatile);
	put(r->ret, "merged", p.merged);
	put(r->ret, "zero_merged", p.zero_merged);
	put(r->ret, "promoted", p.promoted);
	put(r->ret, "bridged", p.bridged);
	put(r->ret, "busy", p.busy);
	put(r->ret, "changed", p.changed);
	put(r->ret, "ns", p.ns);
	json_object_set_new(r->ret, "complete", json_boolean(p.complete));
}

void tq_ctl_start(const json_t *args, struct tq_reply *r)
{
	int err = tq_scan_switch(true);

	(void)args;
	if (err)
		tq_ctl_fail(r, "merging is off, see stats");
	else
		r->ret = json_object();
}

void tq_ctl_stop(const json_t *args, struct tq_reply *r)
{
	(void)args;
	tq_scan_switch(false);
	r->ret = json_object();
}

static void fail_gpa(struct tq_reply *r, uint64_t gpa)
{
	tq_ctl_fail(r, "gpa %#llx: there is no guest RAM that twinfold has",
		    (unsigned long long)gpa);
}

static bool engine_gpa(const json_t *args, struct tq_reply *r, uint64_t *ret)
{
	json_int_t gpa = json_integer_value(json_object_get(args, "gpa"));

	if (gpa >= 0 && tq_gpa_find((uint64_t)gpa, ret))
		return true;
	fail_gpa(r, (uint64_t)gpa);
	return false;
}

void tq_ctl_inject(const json_t *args, struct tq_reply *r)
{
	static const char *const names[] = { "sim", "madvise", "hwpoison" };
	const char *how = json_string_value(json_object_get(args, "how"));
	uint64_t gpa;
	unsigned i;
	int err;

	for (i = 0; i < 3 && strcmp(how, names[i]) != 0; i++)
		;
	if (i == 3) {
		tq_ctl_fail(
			r,
			"how is '%.40s'; it must be sim, madvise or hwpoison",
			how);
		return;
	}
	if (!engine_gpa(args, r, &gpa))
		return;
	err = tf_ras_inject(tq_life()->engine, tq_life()->guest, gpa,
			    (enum tf_inject)i);
	if (err == -ENODEV)
		tq_ctl_fail(r, "TWINFOLD_MODE has no ras: nothing is injected");
	else if (err == -ENOENT)
		fail_gpa(r, gpa);
	else if (err)
		fail_errno(r, "nothing was injected", err);
	else
		r->ret = json_object();
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t pages_merged(void)
{
	struct tf_guest_stats g = { .size = sizeof(g) };

	tf_guest_stats(tq_life()->guest, &g);
	return g.pages_merged;
}

/* A page that was lost, and that nobody touched yet, heals on the way. */
#define UNMERGE_TRIES 64

static int unmerge(uint64_t gpa, size_t bytes)
{
	int err = -EHWPOISON;

	for (int i = 0; err == -EHWPOISON && i < UNMERGE_TRIES; i++) {
		err = tf_guest_unmerge(tq_life()->guest, gpa, bytes);
		if (err == -EHWPOISON)
			poll(NULL, 0, 5);
	}
	return err;
}

static void unmerge_block(const struct tq_block *b, void *arg)
{
	int *err = arg;
	int e = 0;

	if (b->state == TQ_BLOCK_MERGING)
		e = unmerge(b->gpa, b->bytes);
	if (e && !*err)
		*err = e;
}

static int unmerge_range(const json_t *args, struct tq_reply *r, uint64_t gpa)
{
	json_int_t bytes = json_integer_value(json_object_get(args, "bytes"));

	if (bytes <= 0 || bytes % TF_PAGE_SIZE || gpa % TF_PAGE_SIZE) {
		tq_ctl_fail(
			r, "gpa and bytes must be multiples of 4096, and bytes "
			   "more than 0");
		return -EINVAL;
	}
	return unmerge(gpa, (size_t)bytes);
}

/* All of it, or a range. A scan that goes on merges it again. */
void tq_ctl_unmerge(const json_t *args, struct tq_reply *r)
{
	uint64_t begin = now_ms(), merged, gpa;
	bool all = !json_object_size(args);
	int err = 0;

	merged = pages_merged();
	if (!all && json_object_size(args) != 2) {
		tq_ctl_fail(r, "unmerge takes gpa and bytes, or neither");
		return;
	}
	if (!all && !engine_gpa(args, r, &gpa))
		return;
	if (all)
		tq_blocks_each(unmerge_block, &err);
	else
		err = unmerge_range(args, r, gpa);
	if (err) {
		if (!r->class)
			fail_errno(r, "some pages are still shared", err);
		return;
	}
	r->ret = json_object();
	put(r->ret, "ms", now_ms() - begin);
	put(r->ret, "bytes", (merged - pages_merged()) * TF_PAGE_SIZE);
	json_object_set_new(r->ret, "scanning", json_boolean(tq_scan_is_on()));
}
