/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Healing: the sharers of a lost dup get another one. Frames are mapped by
 * the function that re-homes them, copies are made as promotion makes them.
 *
 * The donor is held from its choice to the last sharer, so that it cannot be
 * freed, and so is the lost dup. Between blocks of sharers
 * the lock is dropped: sharers may break, leave or join other dups meanwhile,
 * so the list is looked at anew each time.
 */
#include <errno.h>

#include "engine/book.h"
#include "engine/breaks.h"
#include "engine/chain.h"
#include "engine/copy.h"
#include "engine/nodes.h"
#include "engine/store.h"
#include "ras/internal.h"

/* Sharers between two stop points: about 0.2 ms. */
#define STOP_AFTER 16u

/* How often a sharer that cannot be moved is tried again. A round in which the
 * copy was lost does not count: another copy may do. */
#define ROUNDS 3

void ras_hold(struct tf_engine *e, uint32_t dup)
{
	tf_dup_get(e, dup)->store->regions++;
	tf_dup_hold(e, dup);
}

void ras_let_go(struct tf_engine *e, uint32_t dup)
{
	struct tf_store *s = tf_dup_get(e, dup)->store;

	tf_dup_let_go(e, dup);
	tf_store_put(s);
}

/* Lost as well: its sharers are healed, or told, in their turn. */
static void found_lost(struct tf_ras *ras, uint32_t id)
{
	const struct tf_dup *d = tf_dup_get(ras->engine, id);

	if (d->bad)
		return;
	tf_dup_condemn(ras->engine, id);
	ras_note(ras, tf_slot_bytes(d->store, d->slot));
}

/* Another dup of the chain that can be read and holds what it should. */
static uint32_t find_donor(struct tf_ras *ras, uint32_t lost)
{
	struct tf_engine *e = ras->engine;
	uint32_t id = tf_dup_get(e, lost)->next;

	for (; id != lost; id = tf_dup_get(e, id)->next) {
		if (tf_dup_is_healthy(e, id))
			return id;
		found_lost(ras, id);
	}
	return 0;
}

/* Where sharers go: the fresh copy if there is one, else any dup with room.
 * Found anew after every stop point. A place in it is reserved. */
static uint32_t take_place(struct tf_engine *e, uint32_t lost, uint32_t fresh)
{
	uint32_t id = fresh;
	const struct tf_dup *d = tf_dup_get(e, lost);

	if (!id || !tf_dup_has_room(e, tf_dup_get(e, id)))
		for (id = d->next; id != lost; id = tf_dup_get(e, id)->next)
			if (tf_dup_has_room(e, tf_dup_get(e, id)) &&
			    tf_dup_is_healthy(e, id))
				break;
	if (id == lost || tf_dup_reserve(e, id))
		return 0;
	return id;
}

/* Move the sharer at `pos` of the list. */
static bool move_one(struct tf_engine *e, uint32_t lost, unsigned pos,
		     uint32_t fresh)
{
	uint32_t ref = tf_dup_sharers(tf_dup_get(e, lost))[pos];
	uint32_t to = take_place(e, lost, fresh);

	return to && !tf_rehome(tf_ref_block(e, ref), tf_ref_page(ref), to);
}

/* The copy may have been hit meanwhile. */
static void see_whether_lost(struct tf_ras *ras, uint32_t fresh)
{
	if (fresh && !tf_dup_is_healthy(ras->engine, fresh))
		found_lost(ras, fresh);
}

/* From the end of the list, where those that failed gather. How many are
 * still there. */
static unsigned move_all(struct tf_ras *ras, uint32_t lost, uint32_t fresh)
{
	struct tf_engine *e = ras->engine;
	const struct tf_dup *d = tf_dup_get(e, lost);
	unsigned failed = 0;

	for (unsigned i = 1; d->nsharers > failed; i++) {
		failed += !move_one(e, lost, d->nsharers - 1 - failed, fresh);
		if (i % STOP_AFTER)
			continue;
		tf_stop_point(e);
		see_whether_lost(ras, fresh);
	}
	see_whether_lost(ras, fresh);
	return d->nsharers;
}

/* The frame that somebody waits for. */
static void move_first(struct tf_ras *ras, struct ras_heal *heal,
		       uint32_t fresh)
{
	struct tf_engine *e = ras->engine;
	const struct tf_block *b = tf_ref_block(e, heal->first);
	unsigned page = tf_ref_page(heal->first);

	if (!move_one(e, heal->dup, b->frames[page].tag, fresh))
		return;
	heal->moved = true;
	if (!heal->asker)
		return;
	/* Its fault would wait for the mappings that we make next. */
	e->os->advise(e->os, tf_frame_addr(b, page), TF_PAGE, TF_POPULATE_READ);
	heal->asker->verdict.source = heal->source;
	ras_request_done(ras, heal->asker);
	heal->asker = NULL;
}

static void tell_guest(struct tf_ras *ras, const struct ras_heal *heal,
		       uint32_t ref)
{
	const struct tf_block *b = tf_ref_block(ras->engine, ref);
	const char *addr = tf_frame_addr(b, tf_ref_page(ref));
	const struct ras_request *q = heal->asker;
	bool here = ref == heal->first && q && q->required;

	ras_vmce_post(ras, b->region->guest, tf_region_gpa(b->region, addr),
		      here, here ? q->tid : 0);
}

/* Whoever is left has lost its page. It stays mapped to the lost slot, which
 * traps, until the guest gives it up. */
static void give_up(struct tf_ras *ras, const struct ras_heal *heal)
{
	struct tf_engine *e = ras->engine;
	const struct tf_dup *d = tf_dup_get(e, heal->dup);

	while (d->nsharers) {
		uint32_t ref = tf_dup_sharers(d)[d->nsharers - 1];
		struct tf_block *b = tf_ref_block(e, ref);

		tell_guest(ras, heal, ref);
		tf_book_cow(b, tf_ref_page(ref));
	}
}

void ras_count_heal(struct tf_engine *e, uint32_t lost, uint32_t fresh)
{
	struct tf_dup *d = tf_dup_get(e, lost);

	if (d->healed)
		return;
	d->healed = true;
	e->n.heals++;
	if (fresh)
		e->n.heals_fresh_copy++;
	else
		e->n.heals_existing_dup++;
}

/* By the list alone: the frame may be gone since the lock was dropped. */
static bool is_sharer(const struct tf_engine *e, const struct ras_heal *heal)
{
	const struct tf_dup *d = tf_dup_get(e, heal->dup);

	for (unsigned i = 0; i < d->nsharers; i++)
		if (tf_dup_sharers(d)[i] == heal->first)
			return true;
	return false;
}

/* A donor, and a fresh copy of it, or 0 if none can be had. A donor that is
 * lost while it is copied is none. 0: there is no donor. */
static uint32_t copy_any(struct tf_ras *ras, uint32_t lost, uint32_t *fresh)
{
	uint32_t donor;

	do {
		donor = find_donor(ras, lost);
		*fresh = donor ? tf_dup_copy(ras->engine, donor) : 0;
	} while (donor && !*fresh && !tf_dup_is_healthy(ras->engine, donor));
	return donor;
}

/* What a round begins with: a donor, held, and a fresh copy in heal->fresh,
 * held, if one can be had. That of the round before will do if it is not lost,
 * and has places left: sharers of other lost dups may have taken them.
 * 0: there is no donor. */
static uint32_t find_source(struct tf_ras *ras, struct ras_heal *heal)
{
	struct tf_engine *e = ras->engine;
	bool keep = heal->fresh &&
		    tf_dup_has_room(e, tf_dup_get(e, heal->fresh));
	uint32_t fresh = heal->fresh, donor;

	donor = keep ? find_donor(ras, heal->dup) :
		       copy_any(ras, heal->dup, &fresh);
	if (donor)
		tf_dup_hold(e, donor);
	if (keep)
		return donor;
	if (fresh)
		tf_dup_hold(e, fresh);
	if (heal->fresh)
		tf_dup_let_go(e, heal->fresh);
	heal->fresh = fresh;
	return donor;
}

/* Donors and copies may be lost as well, at any moment: the next round has
 * others. False: nobody is left, or nothing to heal them with. */
static bool heal_round(struct tf_ras *ras, struct ras_heal *heal, bool first)
{
	struct tf_engine *e = ras->engine;
	uint32_t donor = 0;
	unsigned left;

	if (tf_dup_get(e, heal->dup)->nsharers)
		donor = find_source(ras, heal);
	if (!donor)
		return false;
	if (first) {
		ras_count_heal(e, heal->dup, heal->fresh);
		heal->source = heal->fresh ? TF_RAS_FROM_FRESH_COPY :
					     TF_RAS_FROM_DUP;
	}
	if (first && heal->first) {
		move_first(ras, heal, heal->fresh);
		ras_recall(e, heal->dup);
	}
	left = move_all(ras, heal->dup, heal->fresh);
	tf_dup_let_go(e, donor);
	return left;
}

/* Whichever copy is left is not to be the only one. */
static void keep_two(struct tf_engine *e, uint32_t lost)
{
	uint32_t id = tf_dup_get(e, lost)->next;

	while (id != lost && tf_dup_get(e, id)->bad)
		id = tf_dup_get(e, id)->next;
	if (id != lost)
		tf_copy_keep(e, id);
}

bool ras_heal_dup(struct tf_ras *ras, struct ras_heal *heal)
{
	struct tf_engine *e = ras->engine;
	bool lost, first = true;
	int round = 0;

	tf_dup_condemn(e, heal->dup);
	ras_hold(e, heal->dup);
	if (heal->fresh)
		tf_dup_hold(e, heal->fresh);
	if (!heal->first)
		ras_recall(e, heal->dup);
	for (; round < ROUNDS && heal_round(ras, heal, first); first = false)
		round += !heal->fresh || !tf_dup_get(e, heal->fresh)->bad;
	if (heal->fresh)
		tf_dup_let_go(e, heal->fresh);
	if (heal->first && !heal->moved)
		heal->moved = !is_sharer(e, heal);
	lost = tf_dup_get(e, heal->dup)->nsharers;
	give_up(ras, heal);
	keep_two(e, heal->dup);
	ras_let_go(e, heal->dup);
	return heal->first ? heal->moved : !lost;
}
