/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Victims. Under the engine's lock; the plan's random numbers choose. */
#include "tests/lib/poison_victim.h"

#include "engine/chain.h"
#include "engine/fence.h"
#include "engine/store.h"
#include "tests/lib/poison_seam.h"
#include "tests/lib/poison_trap.h"

unsigned victim_pick(unsigned n)
{
	unsigned i;

	pthread_mutex_lock(&poison_seam.lock);
	i = prop_below(&poison_seam.rng, n);
	pthread_mutex_unlock(&poison_seam.lock);
	return i;
}

const struct tf_store *victim_store(int fd)
{
	const struct tf_store *s;

	tf_list_for_each(s, &poison_seam.oracle.e->stores, link)
		if (s->fd == fd)
			return s;
	return NULL;
}

/* The store whose mapping `p` lies in, and its slot. */
static const struct tf_store *store_at(const void *p, uint32_t *slot)
{
	const struct tf_store *s;

	tf_list_for_each(s, &poison_seam.oracle.e->stores, link) {
		size_t off = (size_t)((const char *)p - s->map);

		if ((const char *)p < s->map ||
		    off / TF_PAGE >= (uint64_t)s->nwindows * TF_WINDOW_SLOTS)
			continue;
		*slot = (uint32_t)(off / TF_PAGE);
		return s;
	}
	return NULL;
}

/* The bytes of [from, to) are elsewhere already. */
void victim_slot(const struct tf_store *s, uint32_t slot, const char *from,
		 const char *to, const char *fresh)
{
	if (!s || !tf_slot_dup(s, slot) || !trap_note(s, slot))
		return;
	oracle_slot(&poison_seam.oracle, s, slot, from, to);
	trap_lay(s, slot, fresh);
}

void victim_bytes(const void *p)
{
	uint32_t slot = 0;
	const struct tf_store *s = store_at(p, &slot);

	victim_slot(s, slot, NULL, NULL, NULL);
}

static struct tf_block *block_at(const char *addr, unsigned *page)
{
	const struct tf_region *r = tf_region_at(poison_seam.oracle.e, addr);

	if (!r)
		return NULL;
	*page = tf_region_page_of(r, addr);
	return tf_block_find(r, tf_region_block_of(r, addr));
}

void victim_frame(const char *addr, const char *from, const char *to)
{
	unsigned page;
	const struct tf_block *b = block_at(addr, &page);
	const struct tf_dup *d;

	if (!b || b->frames[page].state != TF_FRAME_SHARED)
		return;
	d = tf_dup_get(poison_seam.oracle.e, b->frames[page].shared.dup);
	victim_slot(d->store, d->slot, from, to, NULL);
}

/* The slot of any page of any guest; now and then instead of the natural
 * victim. */
bool victim_other(const char *from, const char *to)
{
	const struct model_guest *g =
		&poison_seam.oracle.fates->guests[victim_pick(MODEL_GUESTS)];
	const struct model_area *a = &model_areas[victim_pick(MODEL_AREAS)];

	if (poison_seam.only_it || victim_pick(4))
		return false;
	victim_frame(model_page(g, a->page + victim_pick(a->pages)), from, to);
	return true;
}

void victim_private(char *addr)
{
	unsigned page;
	struct tf_block *b = block_at(addr, &page);

	if (!b || !trap_can_lose(b, page))
		return;
	fates_doom(poison_seam.oracle.fates, addr);
	trap_lose(b, page);
}

bool victim_in_staging(const void *p)
{
	const char *s = poison_seam.oracle.e->staging;

	return s && (const char *)p >= s &&
	       (const char *)p < s + TF_STAGE_PAGES * TF_PAGE;
}

/* Nobody sees a staged page before it is home: the fate comes in time. */
void victim_staged(const void *p, const char *home, bool judged)
{
	char *staged = (char *)((uintptr_t)p & ~(TF_PAGE - 1));

	if (home && trap_staged(poison_seam.oracle.e, staged))
		oracle_staged(&poison_seam.oracle, home, judged);
}
