/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reverse map: which frames share a dup. Owns the lists of sharers; frames'
 * entries are changed here only between SHARED and what the caller makes of
 * them. Caller holds the engine's lock throughout.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chain.h"
#include "engine/state.h"

/* A list fills what the allocator hands out for it: 16 k + 24 bytes. */
#define FIRST_CAP 10u

/* Its list, or NULL while it needs none. */
static uint32_t *list_of(const struct tf_dup *d)
{
	return d->cap > TF_DUP_FEW ? d->list : NULL;
}

static uint32_t *sharers_of(struct tf_dup *d)
{
	return d->cap > TF_DUP_FEW ? d->list : d->few;
}

static unsigned list_entries(const struct tf_dup *d)
{
	return d->cap > TF_DUP_FEW ? d->cap : 0;
}

static int list_grow(struct tf_engine *e, struct tf_dup *d)
{
	unsigned had = list_entries(d);
	unsigned cap = had ? 2 * had - 2 : FIRST_CAP;
	uint32_t *more = realloc(list_of(d), cap * sizeof(*more));

	if (!more)
		return -ENOMEM;
	if (!had)
		memcpy(more, d->few, sizeof(d->few));
	e->n.sharer_room += cap - had;
	d->list = more;
	d->cap = (uint16_t)cap;
	return 0;
}

void tf_dup_free_list(struct tf_engine *e, struct tf_dup *d)
{
	e->n.sharer_room -= list_entries(d);
	if (list_of(d)) /* nor is free() called for nothing, in a handler */
		free(list_of(d));
}

int tf_dup_reserve(struct tf_engine *e, uint32_t id)
{
	struct tf_dup *d = tf_dup_get(e, id);

	if (d->nsharers + d->pending == d->cap &&
	    (d->cap > UINT16_MAX / 2 || list_grow(e, d)))
		return -ENOMEM;
	d->pending++;
	tf_chain_adjust(e, id);
	return 0;
}

int tf_dup_prepare(struct tf_engine *e)
{
	if (!e->list_at_hand)
		e->list_at_hand = calloc(e->opts.max_page_sharing,
					 sizeof(*e->list_at_hand));
	return e->list_at_hand ? 0 : -ENOMEM;
}

bool tf_dup_at_hand(const struct tf_store *s)
{
	return s->engine->list_at_hand && tf_slot_at_hand(s) &&
	       tf_slot_may_go(s) && tf_idtable_at_hand(&s->engine->dups);
}

void tf_dup_take_list(struct tf_engine *e, uint32_t id)
{
	struct tf_dup *d = tf_dup_get(e, id);

	if (e->opts.max_page_sharing <= d->cap)
		return;
	d->list = e->list_at_hand;
	d->cap = (uint16_t)e->opts.max_page_sharing;
	e->n.sharer_room += d->cap;
	e->list_at_hand = NULL;
}

void tf_dup_unreserve(struct tf_engine *e, uint32_t id)
{
	tf_dup_get(e, id)->pending--;
	tf_chain_adjust(e, id);
	tf_dup_retire(e, id);
}

/* A dup gets its first sharer, in this block, or loses its last. */
static void count_used(struct tf_engine *e, const struct tf_dup *d,
		       const struct tf_block *b, int more)
{
	if (d->bridge) {
		e->n.bridged += (uint64_t)more;
		b->region->bridged += (uint64_t)more;
	} else {
		e->n.used += (uint64_t)more;
	}
}

/* A bridge gets a twin: from now on it is a dup like any other. */
static void end_bridge(struct tf_engine *e, struct tf_dup *d)
{
	const struct tf_block *b = tf_ref_block(e, sharers_of(d)[0]);

	count_used(e, d, b, -1);
	d->bridge = false;
	count_used(e, d, b, 1);
}

void tf_dup_link(struct tf_engine *e, uint32_t id, struct tf_block *b,
		 unsigned page)
{
	struct tf_dup *d = tf_dup_get(e, id);
	struct tf_frame *f = &b->frames[page];

	d->pending--;
	if (d->bridge && d->nsharers)
		end_bridge(e, d);
	f->shared.dup = id;
	f->shared.when = e->pass_no;
	f->tag = d->nsharers;
	f->flags = 0;
	sharers_of(d)[d->nsharers++] = tf_ref(b, page);
	f->state = TF_FRAME_SHARED;
	b->nshared++;
	b->region->shared++;
	e->n.sharers++;
	if (d->nsharers == 1)
		count_used(e, d, b, 1);
	e->n.recoverable += tf_dup_has_twin(e, id);
	tf_chain_adjust(e, id);
}

static void sharer_remove(struct tf_engine *e, struct tf_dup *d, unsigned pos)
{
	uint32_t last = sharers_of(d)[--d->nsharers];

	sharers_of(d)[pos] = last;
	tf_ref_frame(e, last)->tag = (uint16_t)pos;
}

void tf_dup_unlink(struct tf_engine *e, struct tf_block *b, unsigned page,
		   bool spans)
{
	struct tf_frame *f = &b->frames[page];
	uint32_t id = f->shared.dup;
	struct tf_dup *d = tf_dup_get(e, id);

	if (d->nsharers == 1) {
		count_used(e, d, b, -1);
		d->bridge &= spans || d->pending; /* it may come back */
	}
	sharer_remove(e, d, f->tag);
	b->nshared--;
	b->region->shared--;
	e->n.sharers--;
	e->n.recoverable -= tf_dup_has_twin(e, id);
	if (spans)
		d->spans++;
	tf_chain_adjust(e, id);
	tf_dup_retire(e, id);
}
