/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dups and chains. Owns the stable index, and which dups are in use; who
 * shares them is in sharers.c. Caller holds the engine's lock throughout.
 */
#include "engine/chain.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/copy.h"
#include "engine/nodes.h"
#include "engine/state.h"

struct tf_dup *tf_dup_get(const struct tf_engine *e, uint32_t id)
{
	return tf_idtable_get(&e->dups, id);
}

static uint32_t *bucket_of(const struct tf_store *s, uint64_t hash)
{
	return &s->stable.head[hash & s->stable.mask];
}

uint32_t tf_chain_find(const struct tf_store *s, uint64_t hash)
{
	uint32_t id;

	if (!s->stable.head)
		return 0;
	for (id = *bucket_of(s, hash); id;) {
		const struct tf_dup *d = tf_dup_get(s->engine, id);

		if (d->hash == hash)
			break;
		id = d->bucket;
	}
	return id;
}

uint32_t tf_chain_pick(const struct tf_store *s, uint64_t hash)
{
	uint32_t head = tf_chain_find(s, hash), id = head;

	while (id && tf_dup_get(s->engine, id)->bad) {
		id = tf_dup_get(s->engine, id)->next;
		if (id == head)
			return 0;
	}
	return id;
}

/* Twice the buckets, every head put where it belongs now. */
static int stable_grow(struct tf_store *s)
{
	struct tf_buckets *t = &s->stable;
	uint32_t size = t->head ? 2 * (t->mask + 1) : 256;
	uint32_t *old = t->head, *head = calloc(size, sizeof(*head));
	uint32_t olds = old ? t->mask + 1 : 0;

	if (!head)
		return -ENOMEM;
	t->head = head;
	t->mask = size - 1;
	for (uint32_t i = 0; i < olds; i++) {
		for (uint32_t id = old[i], next; id; id = next) {
			struct tf_dup *d = tf_dup_get(s->engine, id);

			next = d->bucket;
			d->bucket = head[d->hash & t->mask];
			head[d->hash & t->mask] = id;
		}
	}
	free(old);
	return 0;
}

/* The place in the bucket list that names this head. */
static uint32_t *head_link(const struct tf_store *s, uint64_t hash, uint32_t id)
{
	uint32_t *link = bucket_of(s, hash);

	while (*link != id)
		link = &tf_dup_get(s->engine, *link)->bucket;
	return link;
}

/* Make `id`, already in the ring of `head`, the head. */
static void chain_set_head(struct tf_store *s, uint32_t head, uint32_t id)
{
	struct tf_dup *old = tf_dup_get(s->engine, head);
	struct tf_dup *d = tf_dup_get(s->engine, id);

	if (head == id)
		return;
	*head_link(s, d->hash, head) = id;
	d->bucket = old->bucket;
	old->bucket = 0;
}

static void ring_remove(struct tf_engine *e, struct tf_dup *d)
{
	tf_dup_get(e, d->prev)->next = d->next;
	tf_dup_get(e, d->next)->prev = d->prev;
}

/* Put `id` before `at` in its ring. */
static void ring_insert(struct tf_engine *e, uint32_t at, uint32_t id)
{
	struct tf_dup *d = tf_dup_get(e, id), *a = tf_dup_get(e, at);

	d->next = at;
	d->prev = a->prev;
	tf_dup_get(e, a->prev)->next = id;
	a->prev = id;
}

bool tf_dup_has_twin(const struct tf_engine *e, uint32_t id)
{
	uint32_t other = tf_dup_get(e, id)->next;

	while (other != id && tf_dup_get(e, other)->bad)
		other = tf_dup_get(e, other)->next;
	return other != id;
}

/* Sharers of other dups that have no healthy twin but this one. */
static uint64_t rely_on(const struct tf_engine *e, uint32_t id)
{
	uint64_t lost = 0;
	uint32_t healthy = 0, other = tf_dup_get(e, id)->next;

	for (; other != id; other = tf_dup_get(e, other)->next) {
		if (tf_dup_get(e, other)->bad)
			lost += tf_dup_get(e, other)->nsharers;
		else if (healthy)
			return 0;
		else
			healthy = other;
	}
	return healthy ? tf_dup_get(e, healthy)->nsharers : lost;
}

bool tf_dup_has_room(const struct tf_engine *e, const struct tf_dup *d)
{
	return !d->bad && d->spans < TF_DUP_SPANS &&
	       d->nsharers + d->pending < e->opts.max_page_sharing;
}

int tf_dup_create(struct tf_store *s, uint64_t hash, uint32_t slot,
		  uint32_t *ret)
{
	struct tf_engine *e = s->engine;
	uint32_t head = tf_chain_find(s, hash), id;
	struct tf_dup *d;

	if (!s->stable.head || (!head && s->stable.count > s->stable.mask))
		if (stable_grow(s) && !s->stable.head)
			return -ENOMEM;
	if (tf_idtable_alloc(&e->dups, &id))
		return -ENOMEM;
	d = tf_dup_get(e, id);
	d->hash = hash;
	d->store = s;
	d->slot = slot;
	d->next = d->prev = id;
	d->cap = TF_DUP_FEW;
	if (head) {
		ring_insert(e, head, id);
		chain_set_head(s, head, id);
		e->n.recoverable += rely_on(e, id);
	} else {
		uint32_t *link = bucket_of(s, hash);

		d->bucket = *link;
		*link = id;
		s->stable.count++;
		e->n.chains++;
	}
	tf_slot_bind(s, slot, id);
	e->n.dups++;
	*ret = id;
	return 0;
}

/* Ring order is kept as: those with room from the head on, full ones behind
 * them. */
void tf_chain_adjust(struct tf_engine *e, uint32_t id)
{
	struct tf_dup *d = tf_dup_get(e, id);
	uint32_t head = tf_chain_find(d->store, d->hash);

	if (head == id) {
		if (!tf_dup_has_room(e, d))
			chain_set_head(d->store, head, d->next);
		return;
	}
	ring_remove(e, d);
	if (!tf_dup_has_room(e, d)) {
		ring_insert(e, head, id);
	} else if (tf_dup_has_room(e, tf_dup_get(e, head))) {
		ring_insert(e, tf_dup_get(e, head)->next, id);
	} else {
		ring_insert(e, head, id);
		chain_set_head(d->store, head, id);
	}
}

void tf_dup_condemn(struct tf_engine *e, uint32_t id)
{
	struct tf_dup *d = tf_dup_get(e, id);

	if (d->bad)
		return;
	e->n.recoverable -= rely_on(e, id);
	d->bad = true;
	e->n.quarantined++;
	tf_chain_adjust(e, id);
}

void tf_dup_hold(struct tf_engine *e, uint32_t id)
{
	tf_dup_get(e, id)->spans++;
	tf_chain_adjust(e, id);
}

void tf_dup_let_go(struct tf_engine *e, uint32_t id)
{
	tf_dup_unspan(e, id);
}

bool tf_dup_has_hash(const struct tf_dup *d, uint64_t hash)
{
	const struct tf_store *s = d->store;

	if (hash != s->zero_hash)
		hash = tf_node_hash(s->engine, tf_slot_bytes(s, d->slot), hash);
	return d->hash == hash;
}

void tf_dup_unspan(struct tf_engine *e, uint32_t id)
{
	tf_dup_get(e, id)->spans--;
	tf_chain_adjust(e, id);
	tf_dup_retire(e, id);
}

static void chain_remove(struct tf_engine *e, uint32_t id)
{
	struct tf_dup *d = tf_dup_get(e, id);
	struct tf_store *s = d->store;

	if (d->next != id) {
		const struct tf_dup *next = tf_dup_get(e, d->next);

		if (!d->bad)
			e->n.recoverable -= rely_on(e, id);
		if (tf_chain_find(s, d->hash) == id)
			chain_set_head(s, id, d->next);
		ring_remove(e, d);
		e->lone_copies |= next->next == d->next;
		return;
	}
	*head_link(s, d->hash, id) = d->bucket;
	s->stable.count--;
	e->n.chains--;
}

static void dup_free(struct tf_engine *e, uint32_t id)
{
	struct tf_dup *d = tf_dup_get(e, id);

	chain_remove(e, id);
	if (d->bad)
		tf_slot_quarantine(d->store, d->slot);
	else
		tf_slot_free(d->store, d->slot);
	tf_dup_free_list(e, d);
	tf_idtable_free(&e->dups, id);
	e->n.dups--;
}

static void keep(struct tf_engine *e, struct tf_dup *d, bool kept)
{
	e->n.kept += kept;
	e->n.kept -= d->kept;
	d->kept = kept;
}

/* Those that needed it may have gone, or been healed. */
static void retire_kept(struct tf_engine *e, uint32_t ring)
{
	uint32_t id = ring;

	while (!tf_dup_get(e, id)->kept) {
		id = tf_dup_get(e, id)->next;
		if (id == ring)
			return;
	}
	tf_dup_retire(e, id);
}

void tf_dup_retire(struct tf_engine *e, uint32_t id)
{
	struct tf_dup *d = tf_dup_get(e, id);
	bool idle = !d->nsharers && !d->pending && !d->spans;
	uint32_t next = d->next;

	keep(e, d, idle && !d->bad && tf_copy_is_last(e, id));
	if (!idle || d->kept)
		return;
	dup_free(e, id);
	if (e->n.kept && next != id)
		retire_kept(e, next);
}

static void ring_free(struct tf_engine *e, uint32_t head)
{
	uint32_t id = head;

	do {
		struct tf_dup *d = tf_dup_get(e, id);
		uint32_t next = d->next;

		keep(e, d, false);
		tf_dup_free_list(e, d);
		tf_idtable_free(&e->dups, id);
		e->n.dups--;
		id = next;
	} while (id != head);
	e->n.chains--;
}

void tf_chains_fini(struct tf_store *s)
{
	for (uint32_t i = 0; s->stable.head && i <= s->stable.mask; i++)
		for (uint32_t id = s->stable.head[i], next; id; id = next) {
			next = tf_dup_get(s->engine, id)->bucket;
			ring_free(s->engine, id);
		}
}
