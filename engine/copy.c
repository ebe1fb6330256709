/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Further copies of a content: where one is lost, another heals. Copies are
 * made as promotion makes them. Caller holds the engine's lock.
 */
#include "engine/copy.h"

#include <errno.h>

#include "engine/breaks.h"
#include "engine/chain.h"
#include "engine/nodes.h"
#include "engine/state.h"
#include "engine/store.h"

/* Sharers that a second copy begins with: it shall outlive a few breaks. */
#define BEGIN_WITH 8u

bool tf_dup_is_healthy(const struct tf_engine *e, uint32_t dup)
{
	const struct tf_dup *d = tf_dup_get(e, dup);
	uint64_t hash;

	return !d->bad &&
	       !e->os->hash(e->os, tf_slot_bytes(d->store, d->slot),
			    d->store->secret, &hash) &&
	       tf_dup_has_hash(d, hash);
}

static int write_slot(const struct tf_store *s, uint32_t slot, const char *from)
{
	const struct tf_os *os = s->engine->os;
	long done = os->write_at(os, s->fd, from, TF_PAGE,
				 (uint64_t)slot * TF_PAGE);

	if (done == (long)TF_PAGE)
		return 0;
	return done < 0 ? (int)done : -EIO;
}

uint32_t tf_dup_copy(struct tf_engine *e, uint32_t donor)
{
	const struct tf_dup *d = tf_dup_get(e, donor);
	struct tf_store *s = d->store;
	uint32_t slot, id;

	tf_store_use_node(s, tf_node_beside(s, tf_slot_bytes(s, d->slot)));
	if (tf_slot_alloc(s, &slot))
		return 0;
	if (write_slot(s, slot, tf_slot_bytes(s, d->slot)) ||
	    tf_dup_create(s, d->hash, slot, &id)) {
		tf_slot_abandon(s, slot);
		return 0;
	}
	if (tf_dup_is_healthy(e, id))
		return id;
	tf_dup_condemn(e, id);
	tf_dup_retire(e, id);
	return 0;
}

/* The last sharer of one dup goes to another. */
static bool move_last(struct tf_engine *e, uint32_t from, uint32_t to)
{
	const struct tf_dup *d = tf_dup_get(e, from);
	uint32_t ref = d->sharers[d->nsharers - 1];

	return !tf_dup_reserve(e, to) &&
	       !tf_rehome(tf_ref_block(e, ref), tf_ref_page(ref), to);
}

static void share_with(struct tf_engine *e, uint32_t dup, uint32_t copy)
{
	unsigned n = tf_dup_get(e, dup)->nsharers / 2u;

	if (n > BEGIN_WITH)
		n = BEGIN_WITH;
	while (n-- && move_last(e, dup, copy))
		;
}

void tf_copy_keep(struct tf_engine *e, uint32_t dup)
{
	const struct tf_dup *d = tf_dup_get(e, dup);
	uint32_t copy;

	if (e->opts.min_copies < 2 || d->bad || d->nsharers < 2 ||
	    d->nsharers < e->opts.copy_sharers || tf_dup_has_twin(e, dup))
		return;
	copy = tf_dup_copy(e, dup);
	if (!copy)
		return;
	tf_dup_hold(e, copy);
	share_with(e, dup, copy);
	tf_dup_let_go(e, copy);
}
