/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `write`: contents that are new to the store. Slots are given out in the order
 * of addresses, written from the staging area, and only then get their dups:
 * no frame is ever mapped to a slot that is not complete.
 */
#include "engine/promote.h"

#include <errno.h>

#include "engine/bridge.h"
#include "engine/chain.h"
#include "engine/nodes.h"
#include "engine/state.h"

static bool needs_slot(const struct tf_leg *l)
{
	return !l->err && (l->kind == TF_LEG_PAIR || l->kind == TF_LEG_GROW ||
			   l->kind == TF_LEG_BRIDGE);
}

/* A second copy lies apart from the first. */
static unsigned node_for(const struct tf_engine *e, const struct tf_leg *l)
{
	const struct tf_dup *d;

	if (l->kind != TF_LEG_GROW)
		return tf_node_for(e, tf_stage(e->staging, l->stage));
	d = tf_dup_get(e, l->dup);
	return tf_node_beside(d->store, tf_slot_bytes(d->store, d->slot));
}

/* Slots in the order of addresses: neighbours become neighbours. A moved page
 * is still on its node. */
static void alloc_slots(struct tf_batch *b)
{
	const struct tf_engine *e = b->engine;

	for (unsigned i = 0; i < b->n; i++) {
		struct tf_leg *l = b->sorted[i];
		struct tf_store *s = l->block->region->store;
		int err;

		if (!needs_slot(l))
			continue;
		tf_store_use_node(s, node_for(e, l));
		err = tf_slot_alloc(s, &l->slot);
		if (err)
			tf_leg_fail(l, err);
		l->slotted = !err;
	}
}

/* One write for staged pages and slots that are adjacent. A short write says
 * at which page it stopped; a poisoned one cannot be read. */
static void write_run(struct tf_batch *b, unsigned from, unsigned to)
{
	const struct tf_engine *e = b->engine;
	const struct tf_leg *l = b->sorted[from];
	long done = e->os->write_at(e->os, l->block->region->store->fd,
				    tf_stage(e->staging, l->stage),
				    (to - from) * TF_PAGE,
				    (uint64_t)l->slot * TF_PAGE);
	unsigned ok = done < 0 ? 0 : (unsigned)(done / (long)TF_PAGE);

	for (unsigned i = from + ok; i < to; i++)
		tf_leg_fail(b->sorted[i], done < 0 ? (int)done : -EIO);
}

static void write_slots(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		const struct tf_leg *l = b->sorted[i];

		j = i + 1;
		if (!needs_slot(l))
			continue;
		for (; j < b->n; j++)
			if (!needs_slot(b->sorted[j]) ||
			    b->sorted[j]->slot != l->slot + (j - i) ||
			    b->sorted[j]->block->region->store !=
				    l->block->region->store)
				break;
		write_run(b, i, j);
	}
}

/* Give a written slot its dup, and both sharers their places. */
static int new_dup(struct tf_engine *e, struct tf_leg *l)
{
	uint32_t id;
	int err = tf_dup_create(l->block->region->store, l->hash, l->slot, &id);

	if (err)
		return err;
	l->slotted = false;
	if (l->reserved)
		tf_dup_unreserve(e, l->dup);
	l->dup = id;
	tf_dup_get(e, id)->bridge = l->kind == TF_LEG_BRIDGE;
	l->reserved = !tf_dup_reserve(e, id);
	if (l->mate && l->reserved) {
		l->mate->dup = id;
		l->mate->slot = l->slot;
		l->mate->reserved = !tf_dup_reserve(e, id);
	}
	if (l->reserved && (!l->mate || l->mate->reserved))
		return 0;
	if (l->reserved)
		tf_dup_unreserve(e, id);
	else
		tf_dup_retire(e, id);
	l->reserved = false;
	l->dup = 0;
	return -ENOMEM;
}

static void make_dups(struct tf_batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct tf_leg *l = b->sorted[i];

		if (needs_slot(l)) {
			int err = new_dup(b->engine, l);

			if (err)
				tf_leg_fail(l, err);
		} else if (!l->err && l->kind == TF_LEG_JOIN) {
			l->slot = tf_dup_get(b->engine, l->dup)->slot;
		}
	}
}

void tf_promote_all(struct tf_batch *b)
{
	alloc_slots(b);
	tf_bridge_prune(b);
	write_slots(b);
	make_dups(b);
}
