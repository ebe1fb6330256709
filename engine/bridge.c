/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bridges. A merged page between two private ones takes two mappings. Where
 * the guest that is promoted has settled unique pages between two promoted
 * ones, and only there, these can be given the slots between: slots are handed
 * out in the order of addresses, so all of them become one mapping.
 *
 * A bridge saves no page, it only costs fewer mappings, and its first write is
 * a break. So it is made of nothing but pages that have never been written
 * since they settled, and only where few of the guest's bridges broke
 * (profit.h). It is never made for a page that is merged already: one that is
 * shared has its slot for good.
 *
 * The guest's unique bytes lie in the store then. That is for a store which no
 * other process maps.
 */
#include "engine/bridge.h"

#include <errno.h>

#include "engine/book.h"
#include "engine/candidates.h"
#include "engine/chain.h"
#include "engine/hash.h"
#include "engine/judge.h"
#include "engine/merge.h"
#include "engine/pins.h"
#include "engine/profit.h"
#include "engine/state.h"

/* Settled, unique, and never written while it was. */
static bool fits(const struct tf_block *b, unsigned page)
{
	const struct tf_frame *f = &b->frames[page];

	return f->state == TF_FRAME_CANDIDATE && !f->history && !f->vain &&
	       !(f->flags & (TF_FRAME_FOREIGN | TF_FRAME_BORDER)) &&
	       !tf_bit(&b->blind, page) && !tf_bit(&b->refused, page) &&
	       !tf_pinned(b, page);
}

/* The leg that lies at this page, of those planned last: a pair is two. */
static const struct tf_leg *leg_at(const struct tf_batch *batch,
				   const struct tf_block *b, unsigned page)
{
	for (unsigned back = 1; back <= 2 && back <= batch->n; back++) {
		const struct tf_leg *l = &batch->leg[batch->n - back];

		if (l->block == b && l->page == page)
			return l;
	}
	return NULL;
}

/* Will the next slot lie behind that of this page? */
static bool leads(const struct tf_batch *batch, const struct tf_block *b,
		  unsigned page)
{
	const struct tf_frame *f = &b->frames[page];
	const struct tf_leg *l;

	if (f->state == TF_FRAME_SHARED)
		return tf_dup_get(batch->engine, f->shared.dup)->slot + 1 ==
		       tf_slot_next(b->region->store);
	l = leg_at(batch, b, page);
	return l && (l->kind == TF_LEG_PAIR || l->kind == TF_LEG_GROW);
}

/* More pages than this never pay. */
#define LONGEST 8u

/* How many pages before this one are to be bridged. */
static unsigned gap_before(const struct tf_batch *batch,
			   const struct tf_block *b, unsigned page,
			   unsigned room)
{
	unsigned most = room < LONGEST ? room : LONGEST, n = 0;

	while (n < page && n <= most && fits(b, page - 1 - n))
		n++;
	if (!n || n > most || n >= page || !leads(batch, b, page - 1 - n))
		return 0;
	return tf_profit_bridge(&b->region->guest->bridges, n) ? n : 0;
}

static void plan_leg(struct tf_batch *batch, struct tf_block *b, unsigned page)
{
	const struct tf_frame *f = &b->frames[page];
	uint64_t hash = (uint64_t)f->tag << 32 | f->cand.hash;

	tf_book_leave(b, page);
	tf_frame_reset(b, page);
	tf_merge_add(batch, b, page, hash, TF_LEG_BRIDGE);
}

unsigned tf_bridge_plan(struct tf_batch *batch, struct tf_block *b,
			unsigned page, unsigned room)
{
	unsigned n;

	if (!batch->engine->opts.bridge_gaps || !b->region->store->local)
		return 0;
	n = gap_before(batch, b, page, room);
	for (unsigned i = page - n; i < page; i++)
		plan_leg(batch, b, i);
	return n;
}

int tf_bridge_judge(const struct tf_batch *batch, struct tf_leg *leg)
{
	const struct tf_store *s = leg->block->region->store;
	uint64_t hash;
	int err = tf_judge_hash(batch, leg, &hash);

	if (err)
		return err;
	/* A content that has a copy is compared, not bridged. */
	if (!tf_hash_is_like(hash, leg->hash) || tf_chain_find(s, hash))
		return -EAGAIN;
	leg->hash = hash;
	return 0;
}

static bool has_slot(const struct tf_leg *l)
{
	return l->slotted && !l->err;
}

static bool follows(const struct tf_leg *a, const struct tf_leg *l)
{
	return has_slot(a) && has_slot(l) && a->block == l->block &&
	       a->page + 1 == l->page && a->slot + 1 == l->slot;
}

static bool begins_well(const struct tf_batch *batch, unsigned from)
{
	const struct tf_leg *l = batch->sorted[from];
	const struct tf_frame *before = &l->block->frames[l->page] - 1;

	if (from && follows(batch->sorted[from - 1], l))
		return true;
	return l->page && before->state == TF_FRAME_SHARED &&
	       tf_dup_get(batch->engine, before->shared.dup)->slot + 1 ==
		       l->slot;
}

static bool ends_well(const struct tf_batch *batch, unsigned to)
{
	return to < batch->n &&
	       follows(batch->sorted[to - 1], batch->sorted[to]);
}

static bool is_bridge(const struct tf_leg *l)
{
	return l->kind == TF_LEG_BRIDGE;
}

void tf_bridge_prune(struct tf_batch *batch)
{
	for (unsigned i = 0, j; i < batch->n; i = j) {
		struct tf_leg *const *l = batch->sorted;

		j = i + 1;
		if (!is_bridge(l[i]) || !has_slot(l[i]))
			continue;
		while (j < batch->n && is_bridge(l[j]) &&
		       follows(l[j - 1], l[j]))
			j++;
		if (begins_well(batch, i) && ends_well(batch, j))
			continue;
		for (unsigned k = i; k < j; k++)
			l[k]->err = -ECANCELED;
	}
}

/* Passes until what was learnt counts half. */
#define FORGET_AFTER 64u

void tf_bridge_forget(struct tf_engine *e)
{
	struct tf_guest *g;

	if (e->pass_no % FORGET_AFTER)
		return;
	tf_list_for_each(g, &e->guests, link) {
		g->bridges.made /= 2;
		g->bridges.broke /= 2;
	}
}
