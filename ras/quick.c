/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Healing by the thread that was hit, in its signal handler: where another
 * dup of the content has a place, its frame goes there at once, and the healer
 * gets the other sharers. Nothing here allocates, frees, logs, or waits for
 * long: what may have to be freed is held, and the healer lets go of it.
 *
 * The engine's lock is tried, and that is safe in a handler: whoever holds it
 * touches neither guest memory nor the store without a guard, so the
 * interrupted thread can hold it only if the engine's own memory is lost, and
 * then the lock, which checks for errors, says so.
 */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "engine/breaks.h"
#include "engine/chain.h"
#include "engine/copy.h"
#include "engine/guard.h"
#include "engine/nodes.h"
#include "engine/store.h"
#include "ras/internal.h"

/* A fence, or a few sharers on their way, and whoever holds the lock gives
 * way. After that the healer's turn is near as well. */
#define PATIENCE_NS 150000u

/* Dups of a chain that are looked at. */
#define LOOKS 8

/* 0: taken. EDEADLK: it is this thread's. Else another's. */
static int lock_now(struct tf_engine *e)
{
	static const struct timespec past;

	return pthread_mutex_timedlock(&e->lock, &past);
}

bool ras_lock_is_mine(struct tf_engine *e)
{
	int err = lock_now(e);

	if (!err)
		pthread_mutex_unlock(&e->lock);
	return err == EDEADLK;
}

static int lock_soon(struct tf_engine *e)
{
	uint64_t until = e->os->now_ns(e->os) + PATIENCE_NS;
	int err = lock_now(e);

	if (!err || err == EDEADLK)
		return err;
	atomic_fetch_add(&e->urgent, 1);
	do {
		sched_yield();
		err = pthread_mutex_trylock(&e->lock);
	} while (err && e->os->now_ns(e->os) < until);
	atomic_fetch_sub(&e->urgent, 1);
	return err;
}

/* By the file, which the kernel knows to be lost before it raises a signal:
 * reading what is mapped would raise another. */
static bool is_lost(struct tf_ras *ras, uint32_t dup)
{
	const struct tf_os *os = ras->engine->os;
	const struct tf_dup *d = tf_dup_get(ras->engine, dup);
	const struct tf_store *s = d->store;
	uint64_t hash;

	return d->bad ||
	       os->read_at(os, s->fd, ras->page, TF_PAGE,
			   (uint64_t)d->slot * TF_PAGE) != (long)TF_PAGE ||
	       os->hash(os, ras->page, s->secret, &hash) ||
	       !tf_dup_has_hash(d, hash);
}

/* Another copy of the content that can be read, or 0. */
static uint32_t donor_at_hand(const struct tf_engine *e, uint32_t lost)
{
	uint32_t id = tf_dup_get(e, lost)->next;

	for (int i = 0; i < LOOKS && id != lost; i++) {
		if (tf_dup_is_healthy(e, id))
			return id;
		id = tf_dup_get(e, id)->next;
	}
	return 0;
}

/* Held for the healer, whether it can be read or not. 0: it cannot. */
static uint32_t fresh_copy(struct tf_engine *e, struct ras_request *q)
{
	const struct tf_dup *d = tf_dup_get(e, q->donor);
	struct tf_store *s = d->store;

	tf_store_use_node(s, tf_node_beside(s, tf_slot_bytes(s, d->slot)));
	if (tf_dup_at_hand(s))
		q->fresh = tf_dup_copy_unread(e, q->donor);
	if (!q->fresh)
		return 0;
	tf_dup_hold(e, q->fresh);
	if (!tf_dup_is_healthy(e, q->fresh)) {
		tf_dup_condemn(e, q->fresh);
		return 0;
	}
	tf_dup_take_list(e, q->fresh);
	return q->fresh;
}

/* Is there a place among its sharers that takes no memory? */
static bool has_place(const struct tf_engine *e, uint32_t dup)
{
	const struct tf_dup *d = tf_dup_get(e, dup);

	return tf_dup_has_room(e, d) && d->nsharers + d->pending < d->cap;
}

static bool move_here(struct tf_block *b, unsigned page, uint32_t to)
{
	struct tf_engine *e = b->region->engine;

	return has_place(e, to) && !tf_dup_reserve(e, to) &&
	       !tf_rehome(b, page, to);
}

/* The healer goes on from here, whoever comes or goes meanwhile. What is held
 * is not freed here, whatever fails. */
static void hold(struct tf_engine *e, struct ras_request *q, uint32_t lost,
		 uint32_t donor)
{
	ras_hold(e, lost);
	tf_dup_hold(e, donor);
	q->dup = lost;
	q->donor = donor;
}

void ras_quick_let_go(struct tf_engine *e, const struct ras_request *q)
{
	if (q->fresh)
		tf_dup_let_go(e, q->fresh);
	tf_dup_let_go(e, q->donor);
	ras_let_go(e, q->dup);
}

/* To a fresh copy rather than to the donor, so that mappings do not gather at
 * one dup. */
static bool heal_shared(struct ras_request *q, struct tf_block *b,
			unsigned page)
{
	struct tf_engine *e = b->region->engine;
	uint32_t lost = b->frames[page].shared.dup;
	uint32_t donor = donor_at_hand(e, lost), fresh;

	if (!donor)
		return false;
	tf_dup_condemn(e, lost);
	hold(e, q, lost, donor);
	fresh = fresh_copy(e, q);
	if (!move_here(b, page, fresh ? fresh : donor))
		return false; /* the healer lets go: it may free */
	ras_count_heal(e, lost, fresh);
	ras_say(q, TF_RAS_SHARED,
		fresh ? TF_RAS_FROM_FRESH_COPY : TF_RAS_FROM_DUP);
	q->rest = RAS_REST_SHARERS;
	return true;
}

/* Caller holds the lock. */
static bool quick_frame(struct tf_ras *ras, struct ras_request *q,
			const struct tf_region *r)
{
	char *addr = (char *)q->addr;
	struct tf_block *b = tf_block_find(r, tf_region_block_of(r, addr));
	unsigned page = tf_region_page_of(r, addr);

	if (!b || b->frames[page].state != TF_FRAME_SHARED)
		return false;
	ras_say_where(q, r);
	if (is_lost(ras, b->frames[page].shared.dup))
		return heal_shared(q, b, page);
	if (!ras_is_mended(r->engine, addr))
		return false;
	ras_say(q, TF_RAS_SHARED, TF_RAS_FROM_DUP);
	q->rest = RAS_REST_SAY;
	return true;
}

/* Neither a guest's nor a store's. */
static void say_unknown(struct tf_ras *ras, struct ras_request *q, bool ours)
{
	q->rest = ours ? RAS_REST_SAY : RAS_REST_NOTHING;
	ras_say(q, ours ? TF_RAS_ENGINE_OWNED : TF_RAS_NOT_OURS,
		TF_RAS_FROM_NOWHERE);
	if (ours)
		q->err = ras_own_memory_lost(ras);
}

/* Caller holds the lock. */
static bool quick_any(struct tf_ras *ras, struct ras_request *q)
{
	struct tf_engine *e = ras->engine;
	const struct tf_region *r = tf_region_at(e, (char *)q->addr);

	if (r)
		return quick_frame(ras, q, r);
	if (ras_store_at(e, (char *)q->addr))
		return false;
	say_unknown(ras, q, ras_index_owns(e, q->hit));
	return true;
}

/* Whose lock it is, the index is lost while it is used. */
static bool quick_mine(struct tf_ras *ras, struct ras_request *q)
{
	bool ours = ras_index_owns(ras->engine, q->hit);

	say_unknown(ras, q, ours);
	if (!ours)
		q->err = -EIO;
	return true;
}

static bool answer(struct tf_ras *ras, struct ras_request *q)
{
	int err = lock_soon(ras->engine);
	bool done = false;

	if (!err) {
		done = quick_any(ras, q);
		pthread_mutex_unlock(&ras->engine->lock);
	} else if (err == EDEADLK) {
		done = quick_mine(ras, q);
	}
	return done;
}

bool ras_quick(struct tf_ras *ras, struct ras_request *q)
{
	/* The interrupted thread may have been reading something else, and a
	 * copy that we read may be lost as well. */
	struct tf_guard *volatile interrupted = tf_guard_armed;
	bool was_healing = ras_healing, done;
	sigset_t bus, mask;

	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, &mask);
	tf_guard_armed = NULL;
	ras_healing = true;
	done = answer(ras, q);
	ras_healing = was_healing;
	tf_guard_armed = interrupted;
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	return done;
}
