/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls on a range of guest RAM: unmerge, discard, pin, unpin. Each walks the
 * memslots that the range meets and the blocks that exist there, and gives up
 * the lock after every block.
 */
#include <errno.h>
#include <sys/mman.h>

#include "engine/base/cleanup.h"
#include "engine/breaks.h"
#include "engine/gather.h"
#include "engine/part.h"
#include "engine/pins.h"
#include "engine/scatter.h"
#include "engine/state.h"

/* What to do with pages [from, to) of a block. Caller holds the lock. */
typedef int block_fn(struct tf_block *b, unsigned from, unsigned to);
/* What to do with memory that no block covers. Caller holds the lock. */
typedef int gap_fn(struct tf_region *r, char *from, char *to);

static int range_check(uint64_t gpa, size_t bytes)
{
	if ((gpa | bytes) % TF_PAGE || gpa + bytes < gpa)
		return -EINVAL;
	return 0;
}

/* The memslot that holds `gpa`, or the next one above it. */
static struct tf_region *region_from(const struct tf_guest *g, uint64_t gpa)
{
	struct tf_region *r, *best = NULL;

	tf_list_for_each(r, &g->regions, link) {
		if (r->dying || r->gpa + (uint64_t)(r->end - r->start) <= gpa)
			continue;
		if (!best || r->gpa < best->gpa)
			best = r;
	}
	return best;
}

static bool range_is_backed(const struct tf_guest *g, uint64_t gpa,
			    uint64_t bytes)
{
	uint64_t end = gpa + bytes;

	while (gpa < end) {
		const struct tf_region *r = region_from(g, gpa);

		if (!r || r->gpa > gpa)
			return false;
		gpa = r->gpa + (uint64_t)(r->end - r->start);
	}
	return true;
}

static int on_block(struct tf_block *b, char *from, const char *to,
		    block_fn *fn)
{
	const struct tf_region *r = b->region;
	const char *end = tf_region_block_end(r, b->no);
	unsigned first = tf_region_page_of(r, from);
	size_t len = (size_t)((to < end ? to : end) - from);

	return fn(b, first, first + (unsigned)(len / TF_PAGE));
}

/* One step: a gap, or one block. Where the next step begins. */
static char *region_step(struct tf_region *r, char *from, char *to,
			 block_fn *fn, gap_fn *gap, int *err)
{
	struct tf_block *b = tf_block_next(r, tf_region_block_of(r, from));
	char *at = b ? tf_region_block_start(r, b->no) : to;

	if (at > to)
		at = to;
	if (at > from) {
		*err = gap ? gap(r, from, at) : 0;
		return at;
	}
	if (!b)
		return to;
	*err = on_block(b, from, to, fn);
	return tf_region_block_end(r, b->no);
}

/* [from, to) of one region. Drops and retakes the lock between steps. */
static int region_apply(struct tf_region *r, char *from, char *to, block_fn *fn,
			gap_fn *gap)
{
	struct tf_engine *e = r->engine;
	int first = 0;

	while (from < to) {
		int err = 0;

		from = region_step(r, from, to, fn, gap, &err);
		if (err && !first)
			first = err;
		tf_stop_point(e);
	}
	return first;
}

/* Caller holds the lock; regions are entered while it is dropped. */
static int range_apply(struct tf_guest *g, uint64_t gpa, uint64_t bytes,
		       block_fn *fn, gap_fn *gap)
{
	struct tf_engine *e = g->engine;
	uint64_t end = gpa + bytes;
	int first = 0;

	while (gpa < end) {
		struct tf_region *r = region_from(g, gpa);
		uint64_t size, off, len;
		int err;

		if (!r || r->gpa >= end)
			break;
		size = (uint64_t)(r->end - r->start);
		off = gpa > r->gpa ? gpa - r->gpa : 0;
		len = r->gpa + size > end ? end - r->gpa : size;
		gpa = r->gpa + size;
		r->users++;
		err = region_apply(r, r->start + off, r->start + len, fn, gap);
		if (--r->users == 0)
			pthread_cond_broadcast(&e->left);
		if (err && !first)
			first = err;
	}
	return first;
}

/* Private again, whoever shares it. */
static int part_pages(struct tf_block *b, unsigned from, unsigned to)
{
	tf_scatter_take_back(b);
	return tf_part_range(b, from, to);
}

static int gather_pages(struct tf_block *b, unsigned from, unsigned to)
{
	(void)from;
	(void)to;
	tf_gather_block(b, false);
	return 0;
}

/* Best effort: while a pass is running, later passes do it. */
static void gather_range(struct tf_guest *g, uint64_t gpa, size_t bytes)
{
	if (pthread_mutex_trylock(&g->engine->pass_lock))
		return;
	range_apply(g, gpa, bytes, gather_pages, NULL);
	pthread_mutex_unlock(&g->engine->pass_lock);
}

int tf_guest_unmerge(struct tf_guest *g, uint64_t gpa, size_t bytes)
{
	int err = range_check(gpa, bytes);

	if (err)
		return err;
	TF_LOCKED(&g->engine->lock);
	err = range_apply(g, gpa, bytes, part_pages, NULL);
	gather_range(g, gpa, bytes);
	return err;
}

static int drop_gap(struct tf_region *r, char *from, char *to)
{
	const struct tf_os *os = r->engine->os;

	return os->advise(os, from, (size_t)(to - from), MADV_DONTNEED);
}

int tf_guest_discard(struct tf_guest *g, uint64_t gpa, size_t bytes)
{
	int err = range_check(gpa, bytes);

	if (err)
		return err;
	TF_LOCKED(&g->engine->lock);
	if (!range_is_backed(g, gpa, bytes))
		return -ENOENT;
	if (tf_pinned_range(g, gpa, bytes))
		return -EBUSY;
	return range_apply(g, gpa, bytes, tf_discard_range, drop_gap);
}

int tf_guest_pin(struct tf_guest *g, uint64_t gpa, size_t bytes)
{
	int err = range_check(gpa, bytes);

	if (err || !bytes)
		return -EINVAL;
	TF_LOCKED(&g->engine->lock);
	if (!range_is_backed(g, gpa, bytes))
		return -ENOENT;
	/* From here on no fence takes these pages; then make them private. */
	err = tf_pin_add(g, gpa, bytes);
	if (err)
		return err;
	err = range_apply(g, gpa, bytes, part_pages, NULL);
	if (err)
		tf_pin_remove(g, gpa, bytes);
	return err;
}

int tf_guest_unpin(struct tf_guest *g, uint64_t gpa, size_t bytes)
{
	int err = range_check(gpa, bytes);

	if (err)
		return err;
	TF_LOCKED(&g->engine->lock);
	return tf_pin_remove(g, gpa, bytes);
}
