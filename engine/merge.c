/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Planning. A hash only proposes; nothing here reads or maps guest memory.
 *
 * A batch is small enough that its fence is shut for about 200 us: up to
 * BATCH_PAGES pages, fewer when they are scattered. A run costs one mapping
 * whatever its length, and a lone page costs one as well. A run of zero pages
 * costs no mapping, but every lone page is a move of its own, which interrupts
 * each CPU that runs a thread of this process: some 15 us where one does.
 */
#include "engine/merge.h"

#include <sched.h>

#include "engine/book.h"
#include "engine/bridge.h"
#include "engine/budget.h"
#include "engine/candidates.h"
#include "engine/chain.h"
#include "engine/hash.h"
#include "engine/mapping.h"
#include "engine/pins.h"
#include "engine/state.h"

#define BATCH_PAGES 128u
#define BATCH_COST 16u
#define RUN_COST 2u
#define ZERO_RUN_COST 1u

void tf_merge_flush(struct tf_batch *batch)
{
	struct tf_engine *e = batch->engine;
	unsigned used = tf_batch_run(batch);

	if (!used)
		return;
	pthread_mutex_unlock(&e->lock);
	tf_fence_sweep(e, used);
	while (atomic_load(&e->urgent))
		sched_yield();
	pthread_mutex_lock(&e->lock);
}

/* Pairs interleave two runs: a leg may continue the last but one as well. */
static void count_run(struct tf_batch *batch, const struct tf_leg *l)
{
	for (unsigned back = 1; back <= 2 && batch->n > back; back++)
		if (batch->leg[batch->n - 1 - back].addr + TF_PAGE == l->addr)
			return;
	batch->cost += l->kind == TF_LEG_ZERO ? ZERO_RUN_COST : RUN_COST;
}

struct tf_leg *tf_merge_add(struct tf_batch *batch, struct tf_block *b,
			    unsigned page, uint64_t hash, enum tf_leg_kind kind)
{
	struct tf_leg *l = &batch->leg[batch->n++];

	*l = (struct tf_leg){
		.block = b,
		.page = (uint16_t)page,
		.addr = tf_frame_addr(b, page),
		.hash = hash,
		.kind = (uint8_t)kind,
	};
	count_run(batch, l);
	return l;
}

static bool batch_full(const struct tf_batch *batch)
{
	return batch->n + 2 > BATCH_PAGES || batch->cost >= BATCH_COST;
}

/* A leg of this batch that makes this content stable in a moment? */
static bool pair_pending(const struct tf_batch *batch, const struct tf_store *s,
			 uint64_t hash)
{
	for (unsigned i = 0; i < batch->n; i++)
		if (tf_hash_is_like(batch->leg[i].hash, hash) &&
		    batch->leg[i].kind >= TF_LEG_GROW &&
		    batch->leg[i].block->region->store == s)
			return true;
	return false;
}

static bool may_fence(struct tf_block *b, unsigned page)
{
	/* A memslot that is going away breaks its frames; none may join. What
	 * is KSM's is KSM's. */
	return !b->region->dying && !b->ksm && !tf_pinned(b, page) &&
	       !tf_fence_arm(b) && tf_watched(b, page);
}

static void plan_zero(struct tf_batch *batch, struct tf_block *b, unsigned page)
{
	const struct tf_store *s = b->region->store;

	tf_merge_add(batch, b, page, s->zero_hash, TF_LEG_ZERO);
}

/* A content with many sharers keeps a second copy to heal from. */
static bool wants_copy(const struct tf_engine *e, uint32_t dup)
{
	const struct tf_dup *d = tf_dup_get(e, dup);

	return e->opts.min_copies > 1 && d->next == dup &&
	       d->nsharers + d->pending >= e->opts.copy_sharers;
}

static void plan_join(struct tf_batch *batch, struct tf_block *b, unsigned page,
		      uint32_t dup)
{
	struct tf_engine *e = batch->engine;
	struct tf_dup *d = tf_dup_get(e, dup);
	enum tf_leg_kind kind = tf_dup_has_room(e, d) && !wants_copy(e, dup) ?
					TF_LEG_JOIN :
					TF_LEG_GROW;
	struct tf_leg *l;

	/* Also in a full dup: it must outlive the comparison. */
	if (tf_dup_reserve(e, dup))
		return;
	l = tf_merge_add(batch, b, page, d->hash, kind);
	l->dup = dup;
	l->reserved = true;
	if (kind == TF_LEG_GROW)
		tf_merge_flush(batch);
}

static void plan_pair(struct tf_batch *batch, struct tf_block *b, unsigned page,
		      uint64_t hash, uint32_t candidate)
{
	struct tf_block *cb = tf_ref_block(batch->engine, candidate);
	unsigned cpage = tf_ref_page(candidate);
	struct tf_leg *l, *mate;

	tf_book_leave(cb, cpage);
	tf_frame_reset(cb, cpage);
	if (batch->n + 2 < BATCH_PAGES)
		tf_bridge_plan(batch, b, page, BATCH_PAGES - 2 - batch->n);
	l = tf_merge_add(batch, b, page, hash, TF_LEG_PAIR);
	mate = tf_merge_add(batch, cb, cpage, hash, TF_LEG_MATE);
	l->mate = mate;
	mate->mate = l;
}

/* Nothing like it yet: a candidate, and no reader until it is written. */
static void plan_candidate(struct tf_block *b, unsigned page, uint64_t hash)
{
	tf_candidate_add(b, page, hash);
}

/* A candidate that may not move, pinned perhaps, waits: it is this page that
 * others shall find. */
static void take_place(struct tf_block *b, unsigned page, uint64_t hash,
		       uint32_t candidate)
{
	struct tf_block *cb = tf_ref_block(b->region->engine, candidate);
	unsigned cpage = tf_ref_page(candidate);

	tf_book_leave(cb, cpage);
	tf_frame_reset(cb, cpage);
	plan_candidate(b, page, hash);
}

/* It, and the candidate that waits for it, are left on the table. */
static void refuse(struct tf_block *b, unsigned page, uint32_t candidate)
{
	struct tf_engine *e = b->region->engine;

	e->n.budget_refused++;
	tf_frame_refuse(b, page, true);
	if (candidate)
		tf_frame_refuse(tf_ref_block(e, candidate),
				tf_ref_page(candidate), true);
}

/* False: not yet. It waits another pass. */
static bool pays(struct tf_block *b, unsigned page, const struct tf_run *run)
{
	struct tf_frame *f = &b->frames[page];

	if (tf_profit_pays(run, f))
		return true;
	f->fresh.looks++;
	return false;
}

/* Mappings that merging a page adds. */
static unsigned cost_of(const struct tf_run *run, uint32_t dup)
{
	if (run->joins)
		return 0;
	return dup ? 2 : 4;
}

static bool plan_shared(struct tf_batch *batch, struct tf_block *b,
			unsigned page, uint64_t hash, uint32_t dup,
			const struct tf_run *run)
{
	struct tf_engine *e = batch->engine;
	uint32_t candidate = dup ? 0 :
				   tf_candidate_find(b->region->store, hash);
	unsigned cost = cost_of(run, dup);

	if (!dup && !candidate) {
		plan_candidate(b, page, hash);
		return false;
	}
	if (!tf_budget_allows(e, cost ? batch->planned + cost : 0,
			      run->pages)) {
		refuse(b, page, candidate);
		return false;
	}
	if (!pays(b, page, run))
		return false;
	if (!may_fence(b, page))
		return false;
	if (candidate &&
	    !may_fence(tf_ref_block(e, candidate), tf_ref_page(candidate))) {
		take_place(b, page, hash, candidate);
		return false;
	}
	batch->planned += cost;
	if (dup)
		plan_join(batch, b, page, dup);
	else
		plan_pair(batch, b, page, hash, candidate);
	return true;
}

bool tf_merge_page(struct tf_batch *batch, struct tf_block *b, unsigned page,
		   uint64_t hash, const struct tf_run *run)
{
	const struct tf_store *s = b->region->store;
	const struct tf_engine *e = batch->engine;

	if (batch_full(batch) || pair_pending(batch, s, hash))
		tf_merge_flush(batch);
	/* The lock may have been dropped since the page was hashed. */
	if (b->frames[page].state != TF_FRAME_NEW)
		return false;
	if (hash != s->zero_hash || !e->opts.use_zero_pages)
		return plan_shared(batch, b, page, hash, tf_chain_pick(s, hash),
				   run);
	if (may_fence(b, page))
		plan_zero(batch, b, page);
	return false;
}
