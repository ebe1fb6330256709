/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leftovers. Owns guest->left: in the order of addresses as soon as one is
 * looked for. A store lives as long as it is named here.
 */
#include "engine/leftover.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/chain.h"
#include "engine/mapping.h"
#include "engine/state.h"
#include "engine/store.h"

static struct tf_store *store_of(const struct tf_guest *g,
				 const struct tf_leftover *l)
{
	return tf_dup_get(g->engine, l->dup)->store;
}

#define FIRST_CAP 64u

static bool left_grow(struct tf_guest *g)
{
	size_t cap = g->cap_left ? 2 * g->cap_left : FIRST_CAP;
	struct tf_leftover *more = realloc(g->left, cap * sizeof(*more));

	if (!more)
		return false;
	g->left = more;
	g->cap_left = cap;
	return true;
}

void tf_leftover_note(struct tf_block *b, unsigned page)
{
	struct tf_guest *g = b->region->guest;
	struct tf_leftover *l;

	if (g->nleft == g->cap_left && !left_grow(g))
		return;
	l = &g->left[g->nleft++];
	*l = (struct tf_leftover){
		.addr = tf_frame_addr(b, page),
		.dup = b->frames[page].shared.dup,
	};
	g->left_mixed |= l != g->left && l[-1].addr > l->addr;
	store_of(g, l)->regions++;
}

static int cmp_addr(const void *a, const void *b)
{
	const struct tf_leftover *x = a, *y = b;

	return (x->addr > y->addr) - (x->addr < y->addr);
}

/* Those behind it in memory are behind it here. */
static struct tf_leftover *find(struct tf_guest *g, char *addr)
{
	const struct tf_leftover key = { .addr = addr };

	if (g->left_mixed)
		qsort(g->left, g->nleft, sizeof(key), cmp_addr);
	g->left_mixed = false;
	if (!g->nleft)
		return NULL;
	return bsearch(&key, g->left, g->nleft, sizeof(key), cmp_addr);
}

void tf_leftover_look(struct tf_guest *g)
{
	if (g->looking++)
		return; /* another thread relies on what it saw */
	for (size_t i = 0; i < g->nleft; i++)
		g->left[i].seen = false;
}

void tf_leftover_look_end(struct tf_guest *g)
{
	g->looking--;
}

bool tf_leftover_is(void *guest, uintptr_t start, uintptr_t end, uint64_t off)
{
	struct tf_guest *g = guest;
	struct tf_leftover *l;
	TF_LOCKED(&g->engine->lock);

	l = find(g, (char *)start);
	for (uintptr_t at = start; at < end; at += TF_PAGE, l++) {
		const struct tf_dup *d;

		if (!l || l == g->left + g->nleft || l->addr != (char *)at)
			return false;
		d = tf_dup_get(g->engine, l->dup);
		if ((uint64_t)d->slot * TF_PAGE != off + (at - start))
			return false;
		l->seen = true;
	}
	return true;
}

static bool is_within(const struct tf_leftover *l, const struct tf_region *r)
{
	return l->addr >= r->start && l->addr < r->end;
}

static int refuse(const struct tf_region *r, const struct tf_leftover *l)
{
	tf_log(&r->engine->log, TF_LOG_WARNING,
	       "memslot %u refused: memory at %p was merged with another "
	       "memory policy and could not be given back; set that policy "
	       "again, or map fresh memory there",
	       r->slot, l->addr);
	return -EOPNOTSUPP;
}

int tf_leftover_prepare(struct tf_region *r)
{
	const struct tf_guest *g = r->guest;

	for (size_t i = 0; i < g->nleft; i++) {
		const struct tf_leftover *l = &g->left[i];

		if (!l->seen || !is_within(l, r))
			continue;
		if (store_of(g, l) != r->store)
			return refuse(r, l);
		if (!tf_block_make(r, tf_region_block_of(r, l->addr)))
			return -ENOMEM;
	}
	return 0;
}

/* What spans the slot is a frame's mapping again. */
static void adopt(struct tf_region *r, const struct tf_leftover *l)
{
	struct tf_engine *e = r->engine;
	struct tf_block *b = tf_block_find(r, tf_region_block_of(r, l->addr));
	struct tf_frame *f = &b->frames[tf_region_page_of(r, l->addr)];

	f->shared.dup = l->dup;
	f->state = TF_FRAME_COW;
	r->seen++;
	r->cow++;
	e->n.cow++;
	/* It was registered with all the memory. */
	e->os->uffd_unregister(e->os, e->uffd_guest, l->addr, TF_PAGE);
	tf_count_vmas(b);
}

void tf_leftover_adopt(struct tf_region *r)
{
	struct tf_guest *g = r->guest;
	size_t kept = 0;

	for (size_t i = 0; i < g->nleft; i++) {
		struct tf_leftover l = g->left[i];
		struct tf_store *s = store_of(g, &l);

		if (!is_within(&l, r)) {
			g->left[kept++] = l;
			continue;
		}
		if (l.seen)
			adopt(r, &l);
		else
			tf_dup_unspan(g->engine, l.dup);
		tf_store_put(s);
	}
	g->nleft = kept;
}

void tf_leftover_fini(struct tf_guest *g)
{
	for (size_t i = 0; i < g->nleft; i++)
		tf_store_put(store_of(g, &g->left[i]));
	g->nleft = g->cap_left = 0;
	free(g->left);
	g->left = NULL;
}
