/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads tables, page tables and the batch in hand; sets fates. */
#include "tests/lib/poison_oracle.h"

#include "engine/batch.h"
#include "engine/chain.h"
#include "engine/store.h"
#include "tests/lib/poison_trap.h"
#include "tests/lib/prop.h"

struct ring {
	const struct oracle *o;
	uint32_t lost; /* any dup of the chain */
	bool source;   /* one of its dups is not lost */
	bool growing;  /* one may come into being, of a page compared before */
	const char *from, *to;
};

static bool is_lost(const struct tf_engine *e, uint32_t dup)
{
	const struct tf_dup *d = tf_dup_get(e, dup);

	return trap_has_slot(d->store, d->slot);
}

static bool in_ring(const struct tf_engine *e, uint32_t dup, uint32_t ring)
{
	uint32_t id = ring;

	do {
		if (id == dup)
			return true;
		id = tf_dup_get(e, id)->next;
	} while (id != ring);
	return false;
}

static bool has_source(const struct tf_engine *e, uint32_t ring)
{
	uint32_t id = ring;

	do {
		if (!is_lost(e, id))
			return true;
		id = tf_dup_get(e, id)->next;
	} while (id != ring);
	return false;
}

/* Does the fence in hand make another dup of this content? */
static bool is_growing(const struct tf_engine *e, uint32_t ring)
{
	const struct tf_batch *b = e->batch;

	for (unsigned i = 0; i < b->n; i++)
		if (b->leg[i].kind == TF_LEG_GROW && b->leg[i].dup &&
		    in_ring(e, b->leg[i].dup, ring))
			return true;
	return false;
}

static void lose_frame(const struct ring *r, const char *addr)
{
	if (r->source || (addr >= r->from && addr < r->to))
		return;
	if (r->growing || r->o->copying)
		fates_maybe(r->o->fates, addr);
	else
		fates_doom(r->o->fates, addr);
}

static void lose_sharers(const struct ring *r, uint32_t dup)
{
	const struct tf_engine *e = r->o->e;
	const struct tf_dup *d = tf_dup_get(e, dup);

	for (unsigned i = 0; i < d->nsharers; i++) {
		uint32_t ref = tf_dup_sharers(d)[i];

		lose_frame(r, tf_frame_addr(tf_ref_block(e, ref),
					    tf_ref_page(ref)));
	}
}

/* Frames that the fence in hand maps to a lost dup: what is in the staging
 * area may have been compared before, or not. */
static void lose_legs(const struct ring *r)
{
	const struct tf_engine *e = r->o->e;
	const struct tf_batch *b = e->batch;

	for (unsigned i = 0; i < b->n; i++)
		if (!r->source && b->leg[i].dup &&
		    in_ring(e, b->leg[i].dup, r->lost))
			fates_maybe(r->o->fates, b->leg[i].addr);
}

/* A COW frame that the kernel has not copied yet. */
static void lose_cow(const struct ring *r, const struct tf_block *b,
		     unsigned page)
{
	const struct tf_engine *e = r->o->e;
	const char *addr = tf_frame_addr(b, page);
	uint32_t dup = b->frames[page].shared.dup;

	if (!is_lost(e, dup) || !in_ring(e, dup, r->lost) || trap_is_copy(addr))
		return;
	if (r->source && !r->o->cow_heals)
		fates_maybe(r->o->fates, addr);
	else
		lose_frame(r, addr);
}

static void lose_cows(const struct ring *r)
{
	const struct tf_engine *e = r->o->e;
	const struct tf_block *b;

	for (size_t i = 0; i < e->nregions; i++)
		for (uint64_t no = 0; (b = tf_block_next(e->regions[i], no));
		     no = b->no + 1ul)
			for (unsigned p = 0; p < TF_BLOCK_PAGES; p++)
				if (b->frames[p].state == TF_FRAME_COW)
					lose_cow(r, b, p);
}

void oracle_slot(const struct oracle *o, const struct tf_store *s,
		 uint32_t slot, const char *from, const char *to)
{
	uint32_t dup = tf_slot_dup(s, slot), id = dup;
	struct ring r = { .o = o, .lost = dup, .from = from, .to = to };

	if (!dup)
		return;
	r.source = has_source(o->e, dup);
	r.growing = is_growing(o->e, dup);
	prop_note("    slot %u of dup %u is lost, %u sharers, source %d", slot,
		  dup, tf_dup_get(o->e, dup)->nsharers, r.source);
	do {
		if (is_lost(o->e, id))
			lose_sharers(&r, id);
		id = tf_dup_get(o->e, id)->next;
	} while (id != dup);
	lose_legs(&r);
	lose_cows(&r);
}

static void hope(const struct oracle *o, uint32_t dup)
{
	const struct tf_dup *d = tf_dup_get(o->e, dup);

	for (unsigned i = 0; i < d->nsharers; i++) {
		uint32_t ref = tf_dup_sharers(d)[i];

		fates_hope(o->fates, tf_frame_addr(tf_ref_block(o->e, ref),
						   tf_ref_page(ref)));
	}
}

void oracle_source(const struct oracle *o, const struct tf_store *s,
		   uint32_t slot)
{
	uint32_t dup = tf_slot_dup(s, slot), id;

	if (!dup || is_lost(o->e, dup))
		return;
	for (id = tf_dup_get(o->e, dup)->next; id != dup;
	     id = tf_dup_get(o->e, id)->next)
		if (is_lost(o->e, id))
			hope(o, id);
}

void oracle_staged(const struct oracle *o, const char *home, bool judged)
{
	if (judged)
		fates_maybe(o->fates, home);
	else
		fates_doom(o->fates, home);
}

char *oracle_home(const struct tf_engine *e, const char *staged)
{
	size_t at = (size_t)(staged - e->staging) / TF_PAGE;
	const struct tf_batch *b = e->batch;

	for (unsigned i = 0; i < b->n; i++)
		if (b->leg[i].moved && !b->leg[i].mapped &&
		    b->leg[i].stage == at)
			return b->leg[i].addr;
	return NULL;
}

/* What is not there, or shows a slot that is not lost itself, may heal. */
static bool may_heal(const struct oracle *o, const struct tf_block *b,
		     const char *addr)
{
	const struct tf_frame *f =
		&b->frames[tf_region_page_of(b->region, addr)];
	uint64_t entry = 0;

	if (f->state == TF_FRAME_COW)
		return !trap_is_copy(addr);
	tf_os_linux.pagemap_read(&tf_os_linux, o->e->pagemap, addr, &entry, 1);
	return !entry && f->state == TF_FRAME_NONE;
}

void oracle_private(const struct oracle *o, const char *addr, bool zero)
{
	const struct tf_region *r = tf_region_at(o->e, addr);
	const struct tf_block *b =
		tf_block_find(r, tf_region_block_of(r, addr));
	unsigned page = tf_region_page_of(r, addr);

	if (b->frames[page].state == TF_FRAME_ZERO &&
	    (zero || tf_bit(&b->lost_zero, page)))
		return;
	if (may_heal(o, b, addr))
		fates_maybe(o->fates, addr);
	else
		fates_doom(o->fates, addr);
}
