/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settling. Where writes are tracked, a page that was not written since the
 * last pass is hashed once and not read again until it is written. Where they
 * are not (scan mode HASH, and huge pages), a page is settled when two passes
 * find the same hash. Neither proves anything about the bytes: devices write
 * unseen. The fence compares.
 *
 * Pages are hashed without the engine's lock: reading guest memory may need
 * the resolver.
 */
#include "engine/settle.h"

#include "engine/book.h"
#include "engine/budget.h"
#include "engine/candidates.h"
#include "engine/dense.h"
#include "engine/gather.h"
#include "engine/hash.h"
#include "engine/mapping.h"
#include "engine/merge.h"
#include "engine/nodes.h"
#include "engine/profit.h"
#include "engine/scatter.h"
#include "engine/state.h"
#include "engine/store.h"

/* Such a frame waits 2^(4-1) passes. */
#define VAIN_MAX 4u

#define LINE_BYTES 64u
#define AHEAD_LINES 4u

struct visit {
	struct tf_batch *batch;
	struct tf_block *b;
	struct tf_bits look;  /* pages to be hashed */
	struct tf_bits twice; /* of those, compare with the hash before */
	uint64_t hash[TF_BLOCK_PAGES];
};

static bool merged(const struct tf_frame *f)
{
	return f->state == TF_FRAME_SHARED || f->state == TF_FRAME_COW;
}

/* Frames that broke soon after merging wait twice as long each time, and so
 * do those that were hashed in vain, from the second time on. */
static bool waits(struct tf_frame *f)
{
	unsigned twice = f->vain ? f->vain - 1u : 0;

	if (twice < f->history)
		twice = f->history;
	if (f->fresh.looks >= (1u << twice) - 1)
		return false;
	f->fresh.looks++;
	return true;
}

/* Was it hashed for nothing? */
static void remember_vain(const struct tf_engine *e, struct tf_frame *f)
{
	if (f->state == TF_FRAME_CANDIDATE && e->opts.smart_scan &&
	    f->vain < VAIN_MAX)
		f->vain++;
}

/* Candidates that were written leave a table that no cache holds. */
static void expect_leaving(const struct tf_block *b)
{
	for (unsigned step = 0; step < TF_CANDIDATE_STEPS; step++)
		tf_bits_for_each(i, &b->written)
			if (b->frames[i].state == TF_FRAME_CANDIDATE)
				tf_candidate_prefetch(b->region->store,
						      b->frames[i].cand.hash,
						      step);
}

static void sort_written(struct visit *v)
{
	struct tf_block *b = v->b;
	bool tracked = b->region->engine->scan_dirty;

	expect_leaving(b);
	tf_bits_for_each(i, &b->written) {
		if (merged(&b->frames[i]))
			continue;
		if (tracked && !tf_bit(&b->huge, i)) {
			remember_vain(b->region->engine, &b->frames[i]);
			tf_book_written(b, i);
			v->batch->pass->pages_volatile++;
		} else {
			tf_bit_set(&v->look, i);
			tf_bit_set(&v->twice, i);
		}
	}
}

/* There are mappings again: frames that were refused wait like any other. */
static void retry_refused(struct tf_block *b)
{
	tf_bits_for_each(i, &b->refused) {
		tf_frame_refuse(b, i, false);
		if (b->frames[i].state == TF_FRAME_NEW)
			tf_frame_pend(b, i, true);
	}
}

static void sort_waiting(struct visit *v)
{
	struct tf_block *b = v->b;

	if (b->region->engine->retry_refused)
		retry_refused(b);
	tf_bits_for_each(i, &b->pending) {
		if (tf_bit(&b->written, i))
			continue;
		if (!b->region->engine->scan_dirty)
			tf_book_hole(b, i); /* not populated any more */
		else if (tf_watched(b, i) && !waits(&b->frames[i]))
			tf_bit_set(&v->look, i);
	}
}

/* While one page is hashed: the lines of the next one that come before the
 * CPU notices by itself where this goes. Never faults. */
static void expect_page(const struct visit *v, unsigned page)
{
	const char *addr;

	if (page >= TF_BLOCK_PAGES)
		return;
	addr = tf_frame_addr(v->b, page);
	for (unsigned line = 0; line < AHEAD_LINES; line++)
		__builtin_prefetch(addr + line * LINE_BYTES);
}

static void hash_pages(struct visit *v, const struct tf_bits *which)
{
	const struct tf_region *r = v->b->region;
	const struct tf_os *os = r->engine->os;

	tf_bits_for_each(i, which) {
		char *addr = tf_frame_addr(v->b, i);

		expect_page(v, tf_bits_next(which, i + 1));
		v->batch->pass->pages_hashed++;
		if (os->hash(os, addr, r->store->secret, &v->hash[i]))
			tf_bit_clear(&v->look, i);
		else if (v->hash[i] != r->store->zero_hash)
			v->hash[i] = tf_node_hash(r->engine, addr, v->hash[i]);
	}
}

/* Zero pages that lie densely go first. What is around them was moved and
 * protected anew: a hash taken before that may have missed a write. */
static void take_zeros(struct visit *v)
{
	struct tf_engine *e = v->batch->engine;
	uint64_t zero_hash = v->b->region->store->zero_hash;
	struct tf_bits zeros = { 0 }, moved = { 0 };

	if (!e->scan_dirty || !e->opts.use_zero_pages)
		return;
	tf_bits_for_each(i, &v->look)
		if (v->hash[i] == zero_hash && !tf_bit(&v->twice, i))
			tf_bit_set(&zeros, i);
	pthread_mutex_lock(&e->lock);
	tf_dense_zeros(v->batch, v->b, &zeros, &moved);
	pthread_mutex_unlock(&e->lock);
	tf_bits_for_each(i, &moved)
		if (!tf_bit(&v->look, i) || tf_bit(&zeros, i))
			tf_bit_clear(&moved, i);
	hash_pages(v, &moved);
}

/* A page whose writes are not tracked: is it what it was a pass ago? */
static bool settled_twice(struct tf_block *b, unsigned page, uint64_t hash)
{
	struct tf_frame *f = &b->frames[page];
	bool same = tf_frame_has_hash(f, hash);

	if (f->state == TF_FRAME_CANDIDATE && same)
		return false; /* where it belongs already */
	if (f->state == TF_FRAME_ZERO && hash == b->region->store->zero_hash)
		return false;
	if (f->state == TF_FRAME_NEW && (f->flags & TF_FRAME_HASHED) && same)
		return !waits(f);
	tf_book_written(b, page);
	tf_frame_set_hash(f, hash);
	f->flags |= TF_FRAME_HASHED;
	return false;
}

/* Is this page, hashed a moment ago, still to be placed? */
static bool to_place(const struct visit *v, unsigned page)
{
	/* The lock was dropped: API calls may have been here. */
	if (merged(&v->b->frames[page]))
		return false;
	if (tf_bit(&v->twice, page))
		return settled_twice(v->b, page, v->hash[page]);
	return v->b->frames[page].state == TF_FRAME_NEW;
}

/* How far a run goes is only looked at where it decides something. */
static struct tf_run run_of(const struct visit *v, unsigned page)
{
	const struct tf_block *b = v->b;

	if (!b->frames[page].history && !tf_budget_tight(b->region->engine))
		return (struct tf_run){ .pages = 1 };
	return tf_run_at(b, page, &v->look, v->hash, TF_BLOCK_PAGES);
}

/* Lookups in a table that no cache holds: all at once, not one by one. */
static void expect_lookups(const struct visit *v)
{
	for (unsigned step = 0; step < TF_CANDIDATE_STEPS; step++)
		tf_bits_for_each(i, &v->look)
			tf_candidate_prefetch(v->b->region->store,
					      (uint32_t)v->hash[i], step);
}

static void place_pages(struct visit *v)
{
	struct tf_run run = { 0 };

	expect_lookups(v);
	tf_bits_for_each(i, &v->look) {
		if (!to_place(v, i)) {
			run.pages = 0;
			continue;
		}
		if (!run.pages)
			run = run_of(v, i);
		run.joins = tf_merge_page(v->batch, v->b, i, v->hash[i], &run);
		run.pages--;
	}
	tf_merge_flush(v->batch);
}

/*
 * KSM's smart_scan, a block at a time: merged memory is costly to walk, so a
 * block with shared frames that stays quiet is looked at every 2nd, 4th, 8th
 * pass. Its breaks are announced and end that.
 */
static void grow_old(struct tf_block *b, bool quiet)
{
	const struct tf_engine *e = b->region->engine;

	if (!quiet || !b->nshared || !e->opts.smart_scan) {
		b->age = b->skip = 0;
		return;
	}
	if (b->age < 3)
		b->age++;
	b->skip = (uint8_t)((1u << b->age) - 1);
}

void tf_settle_block(struct tf_batch *batch, struct tf_block *b)
{
	struct tf_engine *e = batch->engine;
	struct visit v = { .batch = batch, .b = b };

	pthread_mutex_lock(&e->lock);
	sort_written(&v);
	sort_waiting(&v);
	grow_old(b, tf_bits_empty(&b->written) && tf_bits_empty(&b->pending));
	tf_bits_zero(&b->written);
	tf_bits_zero(&b->huge);
	if (tf_gather_due(b))
		tf_gather_block(b, true);
	if (tf_scatter_due(b))
		tf_scatter_hand_over(b);
	pthread_mutex_unlock(&e->lock);
	if (tf_bits_empty(&v.look))
		return;
	hash_pages(&v, &v.look);
	take_zeros(&v);
	pthread_mutex_lock(&e->lock);
	place_pages(&v);
	if (tf_scatter_due(b))
		tf_scatter_hand_over(b);
	pthread_mutex_unlock(&e->lock);
}
