/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariants: frames, dups and chains agree both ways; counters are sums;
 * merged frames are mapped where the tables say. Reads only.
 */
#include "engine/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/cleanup.h"
#include "engine/candidates.h"
#include "engine/chain.h"
#include "engine/state.h"

struct check {
	struct tf_engine *e;
	char *why;
	size_t len;
	struct tf_counts sum; /* what the frames add up to */
	uint64_t bridges;     /* frames whose dup is one */
	bool failed;
};

static void __attribute__((format(printf, 2, 3)))
fail(struct check *c, const char *fmt, ...)
{
	va_list ap;

	if (c->failed)
		return;
	c->failed = true;
	va_start(ap, fmt);
	vsnprintf(c->why, c->len, fmt, ap);
	va_end(ap);
}

#define EXPECT(c, cond, ...)                                                   \
	do {                                                                   \
		if (!(cond))                                                   \
			fail(c, __VA_ARGS__);                                  \
	} while (0)

/* The frame's dup names it at the position that the frame names. */
static void check_shared(struct check *c, const struct tf_block *b,
			 unsigned page)
{
	const struct tf_frame *f = &b->frames[page];
	const struct tf_dup *d = tf_dup_get(c->e, f->shared.dup);
	unsigned long long linear = tf_frame_linear(b, page);

	c->bridges += d->bridge;
	EXPECT(c, d->store == b->region->store,
	       "frame %llu shares with another store", linear);
	EXPECT(c, f->tag < d->nsharers, "frame %llu: position %u of %u", linear,
	       f->tag, d->nsharers);
	if (f->tag < d->nsharers)
		EXPECT(c, tf_dup_sharers(d)[f->tag] == tf_ref(b, page),
		       "frame %llu: its dup names another frame", linear);
	EXPECT(c, tf_slot_dup(d->store, d->slot) == f->shared.dup,
	       "frame %llu: its slot belongs to another dup", linear);
}

static bool is_candidate(const struct tf_block *b, unsigned page)
{
	const struct tf_store *s = b->region->store;
	const struct tf_frame *f = &b->frames[page];
	uint32_t ref = s->candidates.head[f->cand.hash & s->candidates.mask];

	while (ref && ref != tf_ref(b, page))
		ref = tf_ref_frame(s->engine, ref)->cand.next;
	return ref;
}

static void check_frame(struct check *c, const struct tf_block *b,
			unsigned page)
{
	const struct tf_frame *f = &b->frames[page];
	unsigned long long linear = tf_frame_linear(b, page);
	bool pending = tf_bit(&b->pending, page);

	c->sum.pending += pending;
	EXPECT(c, !pending || f->state == TF_FRAME_NEW,
	       "frame %llu waits in state %u", linear, f->state);
	switch ((enum tf_frame_state)f->state) {
	case TF_FRAME_NONE:
		EXPECT(c, !f->fresh.hash && !f->fresh.looks && !f->tag,
		       "frame %llu is gone but not clean", linear);
		break;
	case TF_FRAME_NEW:
		EXPECT(c,
		       f->flags & TF_FRAME_HASHED ||
			       (!f->fresh.hash && !f->tag),
		       "frame %llu kept data of a former state", linear);
		break;
	case TF_FRAME_CANDIDATE:
		c->sum.candidates++;
		EXPECT(c, is_candidate(b, page),
		       "frame %llu is not in the candidate table", linear);
		break;
	case TF_FRAME_SHARED:
		c->sum.sharers++;
		check_shared(c, b, page);
		break;
	case TF_FRAME_ZERO:
		c->sum.zero++;
		break;
	case TF_FRAME_COW:
		c->sum.cow++;
		EXPECT(c, tf_dup_get(c->e, f->shared.dup)->spans,
		       "frame %llu: nothing keeps its slot", linear);
		break;
	}
}

/* Frames that were refused, and those that are KSM's. */
static void check_left_out(struct check *c, const struct tf_block *b)
{
	unsigned refused = 0, handed = 0;

	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++) {
		uint8_t state = b->frames[i].state;
		bool bit = tf_bit(&b->refused, i);

		refused += bit;
		handed += b->ksm && state == TF_FRAME_NEW;
		EXPECT(c,
		       !bit || state == TF_FRAME_CANDIDATE ||
			       (state == TF_FRAME_NEW &&
				!tf_bit(&b->pending, i)),
		       "page %u of block %u was refused in state %u", i, b->no,
		       state);
	}
	EXPECT(c, refused == b->nrefused && handed == b->handed,
	       "block %u counts %u refused, has %u, and %u handed, has %u",
	       b->no, b->nrefused, refused, b->handed, handed);
	c->sum.refused += refused;
	c->sum.handed += handed;
}

static void check_region(struct check *c, const struct tf_region *r)
{
	uint64_t shared = c->sum.sharers, zero = c->sum.zero, cow = c->sum.cow;
	uint64_t bridges = c->bridges;
	const struct tf_block *b;

	for (uint64_t no = 0; (b = tf_block_next(r, no)); no = b->no + 1ul) {
		uint64_t before = c->sum.sharers;

		for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
			check_frame(c, b, i);
		c->sum.vmas += b->vmas;
		check_left_out(c, b);
		EXPECT(c, b->nshared == c->sum.sharers - before,
		       "block %u counts %u sharers, has %llu", b->no,
		       b->nshared,
		       (unsigned long long)(c->sum.sharers - before));
	}
	EXPECT(c,
	       r->shared == c->sum.sharers - shared &&
		       r->zero == c->sum.zero - zero &&
		       r->cow == c->sum.cow - cow &&
		       r->bridged == c->bridges - bridges,
	       "memslot %u: its counters do not add up", r->slot);
}

/* What is lost, known or not, differs from nothing. */
static bool same_bytes(const struct tf_engine *e, const struct tf_dup *d,
		       uint32_t model)
{
	const struct tf_dup *m = tf_dup_get(e, model);

	return d->bad || !model ||
	       e->os->equal(e->os, tf_slot_bytes(d->store, d->slot),
			    tf_slot_bytes(m->store, m->slot), TF_PAGE) != 0;
}

/* Then frames that the kernel would have copied may have joined it. */
static bool is_lost(const struct tf_engine *e, const struct tf_dup *d)
{
	uint64_t hash;

	return d->bad || e->os->hash(e->os, tf_slot_bytes(d->store, d->slot),
				     d->store->secret, &hash);
}

/* Healthy dups of a chain beside this one. */
static unsigned twins_of(const struct tf_engine *e, uint32_t id)
{
	unsigned n = 0;

	for (uint32_t i = tf_dup_get(e, id)->next; i != id;
	     i = tf_dup_get(e, i)->next)
		n += !tf_dup_get(e, i)->bad;
	return n;
}

static void check_dup(struct check *c, uint32_t id, const struct tf_dup *head)
{
	const struct tf_engine *e = c->e;
	const struct tf_dup *d = tf_dup_get(e, id);

	c->sum.dups++;
	c->sum.used += d->nsharers && !d->bridge;
	c->sum.bridged += d->nsharers && d->bridge;
	c->sum.kept += d->kept;
	c->sum.recoverable += twins_of(e, id) ? d->nsharers : 0;
	EXPECT(c, d->hash == head->hash, "dup %u is in a wrong chain", id);
	EXPECT(c, d->nsharers <= e->opts.max_page_sharing || is_lost(e, d),
	       "dup %u has %u sharers", id, d->nsharers);
	EXPECT(c, !d->bridge || d->nsharers <= 1,
	       "dup %u is a bridge of %u sharers", id, d->nsharers);
	EXPECT(c, !d->pending, "dup %u keeps a place for nobody", id);
	EXPECT(c, d->nsharers || d->spans || d->kept, "dup %u has no user", id);
	EXPECT(c, tf_dup_get(e, d->next)->prev == id, "dup %u: broken ring",
	       id);
	EXPECT(c, !tf_dup_has_room(e, d) || tf_dup_has_room(e, head),
	       "dup %u has room, the head of its chain has not", id);
	EXPECT(c, same_bytes(e, d, tf_chain_pick(d->store, d->hash)),
	       "dup %u differs from its chain", id);
	for (unsigned i = 0; i < d->nsharers; i++) {
		const struct tf_frame *f =
			tf_ref_frame(e, tf_dup_sharers(d)[i]);

		EXPECT(c,
		       f->state == TF_FRAME_SHARED && f->shared.dup == id &&
			       f->tag == i,
		       "dup %u: sharer %u is not mapped to it", id, i);
	}
}

static void check_chain(struct check *c, uint32_t head)
{
	uint32_t id = head;

	do {
		check_dup(c, id, tf_dup_get(c->e, head));
		id = tf_dup_get(c->e, id)->next;
	} while (id != head && !c->failed);
	c->sum.chains++;
}

static void check_store(struct check *c, const struct tf_store *s)
{
	for (uint32_t i = 0; s->stable.head && i <= s->stable.mask; i++)
		for (uint32_t id = s->stable.head[i]; id && !c->failed;
		     id = tf_dup_get(c->e, id)->bucket)
			check_chain(c, id);
}

static void check_sums(struct check *c)
{
	const struct tf_counts *n = &c->e->n, *s = &c->sum;

	EXPECT(c, n->pending == s->pending && n->candidates == s->candidates,
	       "waiting %llu of %llu, candidates %llu of %llu",
	       (unsigned long long)n->pending, (unsigned long long)s->pending,
	       (unsigned long long)n->candidates,
	       (unsigned long long)s->candidates);
	EXPECT(c,
	       n->sharers == s->sharers && n->zero == s->zero &&
		       n->cow == s->cow && n->vmas == s->vmas,
	       "sharers %llu of %llu, zero %llu of %llu, cow, or mappings",
	       (unsigned long long)n->sharers, (unsigned long long)s->sharers,
	       (unsigned long long)n->zero, (unsigned long long)s->zero);
	EXPECT(c, n->refused == s->refused && n->handed == s->handed,
	       "refused %llu of %llu, handed %llu of %llu",
	       (unsigned long long)n->refused, (unsigned long long)s->refused,
	       (unsigned long long)n->handed, (unsigned long long)s->handed);
	EXPECT(c,
	       n->dups == s->dups && n->used == s->used && n->kept == s->kept &&
		       n->bridged == s->bridged && n->chains == s->chains &&
		       n->recoverable == s->recoverable,
	       "dups %llu of %llu, chains %llu of %llu, recoverable, or used",
	       (unsigned long long)n->dups, (unsigned long long)s->dups,
	       (unsigned long long)n->chains, (unsigned long long)s->chains);
}

int tf_engine_check(struct tf_engine *e, char *why, size_t len)
{
	struct check c = { .e = e, .why = why, .len = len };
	const struct tf_store *s;
	TF_LOCKED(&e->lock);

	for (size_t i = 0; i < e->nregions; i++)
		check_region(&c, e->regions[i]);
	tf_list_for_each(s, &e->stores, link)
		check_store(&c, s);
	check_sums(&c);
	return c.failed ? -EUCLEAN : 0;
}
