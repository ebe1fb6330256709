/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Further copies of a content: where one is lost, another heals. Copies are
 * made as promotion makes them. Caller holds the engine's lock.
 */
#include "engine/copy.h"

#include <errno.h>

#include "engine/breaks.h"
#include "engine/budget.h"
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

bool tf_copy_is_last(struct tf_engine *e, uint32_t dup)
{
	uint32_t id = tf_dup_get(e, dup)->next;
	bool wanted = false;

	for (; id != dup; id = tf_dup_get(e, id)->next) {
		const struct tf_dup *d = tf_dup_get(e, id);

		if (tf_dup_is_healthy(e, id))
			return false;
		if (!d->bad && e->poison_found)
			e->poison_found(e, tf_slot_bytes(d->store, d->slot));
		wanted |= d->nsharers || d->pending || d->spans;
	}
	return wanted;
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

uint32_t tf_dup_copy_unread(struct tf_engine *e, uint32_t donor)
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
	return id;
}

uint32_t tf_dup_copy(struct tf_engine *e, uint32_t donor)
{
	uint32_t id = tf_dup_copy_unread(e, donor);

	if (!id || tf_dup_is_healthy(e, id))
		return id;
	tf_dup_condemn(e, id);
	tf_dup_retire(e, id);
	return 0;
}

/* The last sharer of one dup goes to another. */
static bool move_last(struct tf_engine *e, uint32_t from, uint32_t to)
{
	const struct tf_dup *d = tf_dup_get(e, from);
	uint32_t ref = tf_dup_sharers(d)[d->nsharers - 1];

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

bool tf_copy_keep(struct tf_engine *e, uint32_t dup)
{
	const struct tf_dup *d = tf_dup_get(e, dup);
	uint32_t copy;

	if (e->opts.min_copies < 2 || d->bad || d->nsharers < 2 ||
	    d->nsharers < e->opts.copy_sharers || tf_dup_has_twin(e, dup) ||
	    !tf_budget_allows(e, 2 * BEGIN_WITH, 1))
		return false;
	copy = tf_dup_copy(e, dup);
	if (!copy)
		return false;
	tf_dup_hold(e, copy);
	share_with(e, dup, copy);
	tf_dup_let_go(e, copy);
	return true;
}

/* Buckets between two stop points. */
#define SWEEP_STEP 1024u

/* Copies for one bucket: more than it has chains, but for some that do not
 * last. */
#define BUCKET_COPIES 8

/* A copy for the first that wants one: in the next look it does not. */
static bool keep_one(const struct tf_store *s, uint32_t bucket)
{
	struct tf_engine *e = s->engine;

	for (uint32_t id = s->stable.head[bucket], next; id; id = next) {
		next = tf_dup_get(e, id)->bucket;
		if (tf_copy_keep(e, id))
			return true;
	}
	return false;
}

/* A copy takes as long as a break or two: whoever waits goes first after each.
 * The table may grow while the lock is dropped; then, and when the pass is to
 * end, the rest waits for the next sweep. */
static void sweep_store(struct tf_store *s, tf_stop_fn *stop, const void *arg)
{
	struct tf_engine *e = s->engine;
	uint32_t mask = s->stable.mask;

	for (uint32_t i = 0, copies = 0; s->stable.head && i <= mask;) {
		bool kept = copies < BUCKET_COPIES && keep_one(s, i);

		copies = kept ? copies + 1 : 0;
		i += !kept;
		if (kept || i % SWEEP_STEP == 0)
			tf_stop_point(e);
		if (s->stable.mask != mask || stop(arg)) {
			e->lone_copies = true;
			return;
		}
	}
}

void tf_copy_sweep(struct tf_engine *e, tf_stop_fn *stop, const void *arg)
{
	struct tf_list *next;

	if (!e->lone_copies || e->opts.min_copies < 2 || stop(arg))
		return;
	e->lone_copies = false;
	for (struct tf_list *at = e->stores.next; at != &e->stores; at = next) {
		struct tf_store *s = tf_container_of(at, struct tf_store, link);

		s->regions++;
		sweep_store(s, stop, arg);
		next = at->next;
		tf_store_put(s);
	}
}
