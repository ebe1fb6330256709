/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Un-merging for good: a range is private again before somebody relies on
 * it. What is lost is healed first, where there is a healer. Caller holds the
 * engine's lock, which is dropped while the healer works.
 */
#include "engine/part.h"

#include <errno.h>

#include "engine/book.h"
#include "engine/breaks.h"
#include "engine/chain.h"
#include "engine/mapping.h"
#include "engine/marker.h"
#include "engine/pins.h"
#include "engine/scatter.h"
#include "engine/spare.h"
#include "engine/state.h"

bool tf_cow_recover(struct tf_block *b, unsigned page)
{
	struct tf_engine *e = b->region->engine;
	uint32_t dup = b->frames[page].shared.dup;
	char *addr = tf_frame_addr(b, page);
	bool copied = true;

	if (tf_dup_get(e, dup)->bad || tf_dup_reserve(e, dup))
		return false;
	if (!tf_protect(e, addr, 1) || tf_find_copied(e, addr, 1, &copied) ||
	    copied) {
		tf_unprotect(e, addr, 1);
		tf_dup_unreserve(e, dup);
		return false;
	}
	tf_book_leave(b, page);
	tf_dup_link(e, dup, b, page);
	return true;
}

/* A remap that fails may have left nothing mapped, but room for one more. */
#define PLACE_TRIES 8

static int place(struct tf_region *r, char *spare, char *addr)
{
	int err = -EAGAIN;

	for (int i = 0; err && i < PLACE_TRIES; i++)
		err = tf_spare_place(r, spare, 1, addr);
	return err;
}

/*
 * A page that the kernel has copied by itself: its bytes go to a page of
 * ours. Whoever writes meanwhile waits; what is read is present or the
 * kernel's to bring in, so nobody waits for us. A device that holds the
 * kernel's page would go on writing there: only where all I/O is declared is
 * it known that none does.
 */
static void take_copy(struct tf_block *b, unsigned page)
{
	struct tf_region *r = b->region;
	struct tf_engine *e = r->engine;
	char *addr = tf_frame_addr(b, page), *spare;

	if (!r->guest->io_declared || tf_pinned(b, page) ||
	    tf_spare_take(r, 1, &spare))
		return;
	if (!tf_protect(e, addr, 1) ||
	    e->os->copy(e->os, spare, addr, TF_PAGE) || place(r, spare, addr)) {
		tf_unprotect(e, addr, 1);
		return;
	}
	e->os->uffd_wake(e->os, e->uffd_merged, addr, TF_PAGE);
	tf_book_private(b, page, true);
	tf_scatter_adopt(b, page, 1);
	tf_count_vmas(b);
}

static bool breakable(struct tf_block *b, unsigned page)
{
	if (b->frames[page].state != TF_FRAME_COW)
		return b->frames[page].state == TF_FRAME_SHARED;
	if (tf_cow_recover(b, page))
		return true;
	if (!tf_cow_is_lost(b, page))
		take_copy(b, page);
	return false;
}

/* Frames that were recovered beyond their dup's share, and did not break. */
static void give_back(struct tf_block *b, unsigned page, unsigned n)
{
	const struct tf_engine *e = b->region->engine;

	for (unsigned i = page; i < page + n; i++)
		if (b->frames[i].state == TF_FRAME_SHARED &&
		    tf_dup_get(e, b->frames[i].shared.dup)->nsharers >
			    e->opts.max_page_sharing)
			tf_book_cow(b, i);
	tf_count_vmas(b);
}

static int break_range(struct tf_block *b, unsigned from, unsigned to)
{
	int first = 0;

	for (unsigned i = from, n; i < to; i += n) {
		int err;

		for (n = 0; i + n < to && n < TF_BREAK_RUN; n++)
			if (!breakable(b, i + n))
				break;
		if (!n) {
			n = 1;
			continue;
		}
		err = tf_break(b, i, n);
		if (err)
			give_back(b, i, n);
		if (err && !first)
			first = err;
	}
	return first;
}

static const char *slot_of(const struct tf_block *b, unsigned page)
{
	const struct tf_dup *d =
		tf_dup_get(b->region->engine, b->frames[page].shared.dup);

	return tf_slot_bytes(d->store, d->slot);
}

static bool is_readable(const struct tf_block *b, unsigned page)
{
	const struct tf_engine *e = b->region->engine;
	uint64_t hash;

	return !tf_dup_get(e, b->frames[page].shared.dup)->bad &&
	       !e->os->hash(e->os, slot_of(b, page), b->region->store->secret,
			    &hash);
}

bool tf_cow_is_lost(const struct tf_block *b, unsigned page)
{
	const struct tf_engine *e = b->region->engine;
	const struct tf_frame *f = &b->frames[page];
	uint64_t entry = 0;

	if (f->state != TF_FRAME_COW || is_readable(b, page))
		return false;
	return e->os->pagemap_read(e->os, e->pagemap, tf_frame_addr(b, page),
				   &entry, 1) == 1 &&
	       tf_marker_no_page(e, entry);
}

/* Frames that stayed shared are lost, or in a run with one that is. False:
 * nothing can be healed, or nobody heals any more: the lock is dropped. */
static bool heal_range(struct tf_block *b, unsigned from, unsigned to)
{
	struct tf_engine *e = b->region->engine;
	bool any = false;

	for (unsigned i = from; i < to && e->heal_lost; i++) {
		const char *lost = NULL;

		if (b->frames[i].state == TF_FRAME_SHARED && !is_readable(b, i))
			lost = slot_of(b, i);
		else if (tf_cow_is_lost(b, i) &&
			 tf_dup_has_twin(e, b->frames[i].shared.dup))
			lost = tf_frame_addr(b, i);
		if (lost)
			e->heal_lost(e, lost);
		any |= lost != NULL;
	}
	return any;
}

static bool any_lost(const struct tf_block *b, unsigned from, unsigned to)
{
	if (b->region->cow)
		for (unsigned i = from; i < to; i++)
			if (tf_cow_is_lost(b, i))
				return true;
	return false;
}

/* Private, or why not. */
static int part(struct tf_block *b, unsigned from, unsigned to)
{
	int err = break_range(b, from, to);

	return !err && any_lost(b, from, to) ? -EHWPOISON : err;
}

/* Copies that pages were healed from may be lost in their turn. */
#define HEALS 8

int tf_part_range(struct tf_block *b, unsigned from, unsigned to)
{
	const struct tf_engine *e = b->region->engine;
	int err = part(b, from, to);
	bool more = e->heal_lost;

	/* The healer may have been there first: then try again all the same. */
	for (int i = 0; i < HEALS && err == -EHWPOISON && more; i++) {
		more = heal_range(b, from, to);
		err = part(b, from, to);
	}
	return err;
}
