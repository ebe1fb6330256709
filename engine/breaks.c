/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Breaks, discards and re-homing. A SHARED frame is write-protected, its
 * bytes are the slot's, and only the holder of the engine's lock changes its
 * mapping: whoever writes meanwhile sleeps in the fault and writes afterwards.
 */
#include "engine/breaks.h"

#include <errno.h>
#include <sys/mman.h>

#include "engine/book.h"
#include "engine/chain.h"
#include "engine/mapping.h"
#include "engine/profit.h"
#include "engine/scatter.h"
#include "engine/spare.h"
#include "engine/state.h"

#define HISTORY_MAX 6u

static void remember_break(struct tf_block *b, unsigned page)
{
	struct tf_engine *e = b->region->engine;
	struct tf_frame *f = &b->frames[page];

	e->n.breaks++;
	b->region->guest->breaks++;
	b->region->guest->bridges.broke += tf_dup_get(e, f->shared.dup)->bridge;
	if (!e->opts.smart_scan)
		return;
	if (e->pass_no - f->shared.when > TF_BREAK_SOON)
		f->history = 0;
	else if (f->history < HISTORY_MAX)
		f->history++;
}

static const char *shared_bytes(const struct tf_block *b, unsigned page)
{
	const struct tf_engine *e = b->region->engine;

	return tf_slot_bytes(b->region->store,
			     tf_dup_get(e, b->frames[page].shared.dup)->slot);
}

static int copy_run(struct tf_block *b, unsigned page, unsigned n, char *to)
{
	const struct tf_engine *e = b->region->engine;

	for (unsigned i = 0; i < n; i++) {
		const struct tf_dup *d =
			tf_dup_get(e, b->frames[page + i].shared.dup);
		int err = d->bad ? -EHWPOISON :
				   e->os->copy(e->os, to + i * TF_PAGE,
					       shared_bytes(b, page + i),
					       TF_PAGE);

		if (err)
			return err;
	}
	return 0;
}

static void log_unmapped(const struct tf_block *b, unsigned page)
{
	const struct tf_region *r = b->region;

	tf_log(&r->engine->log, TF_LOG_ERR,
	       "guest %s: no memory to map gpa %#llx again", r->guest->name,
	       (unsigned long long)tf_region_gpa(r, tf_frame_addr(b, page)));
}

/* A failed remap may have left nothing mapped: map the slots again. */
static void map_again(struct tf_block *b, unsigned page, unsigned n)
{
	struct tf_engine *e = b->region->engine;

	for (unsigned i = page; i < page + n; i++) {
		char *addr = tf_frame_addr(b, i);
		bool is_protected = false, copied = false;

		if (b->frames[i].state != TF_FRAME_SHARED)
			continue;
		if (tf_map_slots(b->region, addr, 1,
				 tf_dup_get(e, b->frames[i].shared.dup)->slot,
				 &is_protected))
			log_unmapped(b, i);
		if (!is_protected || tf_find_copied(e, addr, 1, &copied) ||
		    copied)
			tf_book_cow(b, i);
	}
	tf_count_vmas(b);
}

int tf_break(struct tf_block *b, unsigned page, unsigned n)
{
	struct tf_region *r = b->region;
	struct tf_engine *e = r->engine;
	char *addr = tf_frame_addr(b, page), *spare;
	int err = tf_spare_take(r, n, &spare);

	if (!err)
		err = copy_run(b, page, n, spare);
	if (err)
		return err;
	err = tf_spare_place(r, spare, n, addr);
	if (err) {
		map_again(b, page, n);
		return err;
	}
	e->os->uffd_wake(e->os, e->uffd_merged, addr, n * TF_PAGE);
	for (unsigned i = page; i < page + n; i++)
		tf_book_private(b, i, true);
	tf_scatter_adopt(b, page, n);
	tf_count_vmas(b);
	b->age = b->skip = 0;
	return 0;
}

/*
 * The kernel's copy instead of ours: needs no memory of the engine, and no
 * mapping beyond the one the frame has.
 */
static void break_by_kernel(struct tf_block *b, unsigned page)
{
	if (b->frames[page].state == TF_FRAME_SHARED)
		tf_book_cow(b, page);
	tf_count_vmas(b);
}

/* A sequential writer may leave out this many pages. */
#define STREAM_GAP 8u

/* Is `at`, a page of `b` or behind it, where its stream is expected next? */
static bool continues(const struct tf_block *b, unsigned at)
{
	return b && b->stream && at >= b->stream_next &&
	       at < b->stream_next + STREAM_GAP;
}

/* How many pages from `page` on are about to be written: twice as many as
 * last time where a stream goes on, else this one. */
static unsigned stream_of(const struct tf_block *b, unsigned page)
{
	const struct tf_block *last = b;
	unsigned at = page;

	if (!continues(b, page) && page < STREAM_GAP && b->no) {
		last = tf_block_find(b->region, b->no - 1);
		at = page + TF_BLOCK_PAGES;
	}
	if (!continues(last, at))
		return 1;
	return 2u * last->stream < TF_BREAK_RUN ? 2u * last->stream :
						  TF_BREAK_RUN;
}

static unsigned shared_until(const struct tf_block *b, unsigned from,
			     unsigned to)
{
	while (from < to && b->frames[from].state == TF_FRAME_SHARED)
		from++;
	return from;
}

/* Break what is shared in pages [from, to) ahead of its writer, who
 * still sleeps. Best effort. */
static void break_ahead(struct tf_block *b, unsigned from, unsigned to)
{
	while (from < to) {
		unsigned end = shared_until(b, from, to);

		if (end > from && tf_break(b, from, end - from))
			return;
		b->region->engine->n.breaks_ahead += end - from;
		from = end + 1;
	}
}

void tf_break_fault(struct tf_block *b, unsigned page)
{
	struct tf_engine *e = b->region->engine;
	unsigned run = stream_of(b, page), end = page + run, to;
	int err;

	if (end > TF_BLOCK_PAGES)
		end = TF_BLOCK_PAGES;
	remember_break(b, page);
	to = shared_until(b, page, end);
	break_ahead(b, to, end);
	err = tf_break(b, page, to - page);
	if (!err)
		e->n.breaks_ahead += to - page - 1;
	else if (to > page + 1 && b->frames[page].state == TF_FRAME_SHARED)
		err = tf_break(b, page, 1);
	/* The writer comes again, and again, until its frame is healed. */
	if (err == -EHWPOISON && e->poison_found)
		e->poison_found(e, shared_bytes(b, page));
	else if (err)
		break_by_kernel(b, page);
	b->stream = (uint8_t)run;
	b->stream_next = (uint16_t)end;
}

static bool mapped_over(const struct tf_block *b, unsigned page)
{
	return b->frames[page].state == TF_FRAME_SHARED ||
	       b->frames[page].state == TF_FRAME_COW;
}

/* A hole over merged pages. Spare pages are zeros too, and stand by should
 * mapping the hole fail and leave nothing. */
static int hole_over(struct tf_block *b, unsigned from, unsigned to)
{
	struct tf_region *r = b->region;
	char *addr = tf_frame_addr(b, from), *spare;
	int err = tf_spare_reserve(r, to - from);

	if (err)
		return err;
	if (!tf_map_hole(r, addr, to - from, b->armed))
		return 0;
	err = tf_spare_take(r, to - from, &spare);
	return err ? err : tf_spare_place(r, spare, to - from, addr);
}

/* One run of pages that are all mapped over, or all not. */
static int discard_run(struct tf_block *b, unsigned from, unsigned to)
{
	struct tf_region *r = b->region;
	struct tf_engine *e = r->engine;
	char *addr = tf_frame_addr(b, from);
	size_t len = (to - from) * TF_PAGE;
	int err;

	if (mapped_over(b, from))
		err = hole_over(b, from, to);
	else
		err = e->os->advise(e->os, addr, len, MADV_DONTNEED);
	if (err)
		return err;
	if (mapped_over(b, from))
		e->os->uffd_wake(e->os, e->uffd_merged, addr, len);
	for (unsigned i = from; i < to; i++)
		tf_book_hole(b, i);
	/* Only now: where a page is still merged but not present, ZEROPAGE
	 * would put zeros in its place. */
	if (b->armed)
		tf_plug_holes(e, addr, addr + len);
	return 0;
}

int tf_discard_range(struct tf_block *b, unsigned from, unsigned to)
{
	int first = 0;

	for (unsigned i = from, j; i < to; i = j) {
		int err;

		for (j = i + 1; j < to; j++)
			if (mapped_over(b, j) != mapped_over(b, i))
				break;
		err = discard_run(b, i, j);
		if (err && !first)
			first = err;
	}
	tf_count_vmas(b);
	return first;
}

int tf_rehome(struct tf_block *b, unsigned page, uint32_t dup)
{
	struct tf_region *r = b->region;
	struct tf_engine *e = r->engine;
	char *addr = tf_frame_addr(b, page);
	bool copied = false, is_protected = false;
	unsigned borders;
	int err = tf_map_slots(r, addr, 1, tf_dup_get(e, dup)->slot,
			       &is_protected);

	if (err) {
		tf_dup_unreserve(e, dup);
		/* The mapping may be gone. What is lost is not mapped again. */
		if (!tf_dup_get(e, b->frames[page].shared.dup)->bad &&
		    tf_break(b, page, 1))
			map_again(b, page, 1);
		return err;
	}
	if (!is_protected || tf_find_copied(e, addr, 1, &copied))
		copied = true;
	borders = tf_borders(b, page);
	tf_dup_unlink(e, b, page, false);
	tf_dup_link(e, dup, b, page);
	if (copied)
		tf_book_cow(b, page);
	else
		e->os->uffd_wake(e->os, e->uffd_merged, addr, TF_PAGE);
	tf_count_borders(b, page, borders);
	return 0;
}
