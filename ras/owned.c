/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which memory is the engine's own, so that nothing heals it. Two answers: one
 * without a lock, from tables that never move, and one under the engine's
 * lock, from everything. Neither ever says so of what is not.
 */
#include <errno.h>

#include "engine/batch.h"
#include "engine/chain.h"
#include "engine/dense.h"
#include "engine/leftover.h"
#include "engine/spare.h"
#include "engine/store.h"
#include "ras/internal.h"

static bool within(const void *addr, const void *start, size_t len)
{
	return start && (const char *)addr >= (const char *)start &&
	       (const char *)addr < (const char *)start + len;
}

static bool in_table(const struct tf_idtable *t, const void *addr)
{
	uint32_t used = __atomic_load_n(&t->used, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i * TF_IDTABLE_CHUNK < used; i++) {
		const char *chunk =
			__atomic_load_n(&t->chunks[i], __ATOMIC_ACQUIRE);

		if (within(addr, chunk, TF_IDTABLE_CHUNK * t->record))
			return true;
	}
	return false;
}

/* Records of freed blocks hold small numbers, which are no addresses. */
#define LOWEST_BLOCK ((const char *)(UINT64_C(1) << 24))

static bool in_block(const struct tf_engine *e, const void *addr)
{
	uint32_t used = __atomic_load_n(&e->blocks.used, __ATOMIC_ACQUIRE);

	for (uint32_t id = 1; id < used; id++) {
		const char *b =
			__atomic_load_n((char **)tf_idtable_get(&e->blocks, id),
					__ATOMIC_RELAXED);

		if (b > LOWEST_BLOCK &&
		    within(addr, b, sizeof(struct tf_block)))
			return true;
	}
	return false;
}

/* Blocks, dups and the engine itself never move and are freed only under the
 * lock, so that what is found here was the engine's a moment ago at least. */
bool ras_is_engine_owned(const struct tf_engine *e, const void *addr)
{
	return within(addr, e, sizeof(*e)) ||
	       within(addr, e->batch, sizeof(struct tf_batch)) ||
	       within(addr, e->zero_page, TF_PAGE) ||
	       within(addr, e->staging, TF_STAGE_PAGES * TF_PAGE) ||
	       within(addr, __atomic_load_n(&e->aside, __ATOMIC_ACQUIRE),
		      TF_DENSE_PAGES * TF_PAGE) ||
	       in_table(&e->dups, addr) || in_table(&e->blocks, addr) ||
	       in_block(e, addr);
}

static bool in_words(const void *addr, const uint32_t *words, size_t n)
{
	return within(addr, words, n * sizeof(*words));
}

static bool in_buckets(const struct tf_buckets *t, const void *addr)
{
	return in_words(addr, t->head, t->mask + 1ul);
}

static bool in_sharers(const struct tf_engine *e, uint32_t head,
		       const void *addr)
{
	uint32_t id = head;

	do {
		const struct tf_dup *d = tf_dup_get(e, id);

		if (d->cap > TF_DUP_FEW && in_words(addr, d->list, d->cap))
			return true;
		id = d->next;
	} while (id != head);
	return false;
}

static bool in_chains(const struct tf_store *s, const void *addr)
{
	for (uint32_t i = 0; s->stable.head && i <= s->stable.mask; i++)
		for (uint32_t id = s->stable.head[i]; id;
		     id = tf_dup_get(s->engine, id)->bucket)
			if (in_sharers(s->engine, id, addr))
				return true;
	return false;
}

static bool in_windows(const struct tf_store *s, const void *addr)
{
	for (uint32_t w = 0; w < s->opened; w++)
		if (in_words(addr, s->windows[w].dup_of, TF_WINDOW_SLOTS))
			return true;
	return within(addr, s->windows, s->opened * sizeof(*s->windows));
}

static bool in_leftovers(const struct tf_engine *e, const void *addr)
{
	const struct tf_guest *g;

	tf_list_for_each(g, &e->guests, link)
		if (within(addr, g->left, g->cap_left * sizeof(*g->left)))
			return true;
	return false;
}

bool ras_index_owns(const struct tf_engine *e, const void *addr)
{
	const struct tf_store *s;

	if (in_words(addr, e->list_at_hand, e->opts.max_page_sharing) ||
	    in_leftovers(e, addr))
		return true;
	tf_list_for_each(s, &e->stores, link)
		if (within(addr, s, sizeof(*s)) || in_windows(s, addr) ||
		    in_words(addr, s->dead, s->cap_dead) ||
		    in_buckets(&s->stable, addr) ||
		    in_buckets(&s->candidates, addr) || in_chains(s, addr))
			return true;
	return false;
}

struct tf_store *ras_store_at(struct tf_engine *e, const void *addr)
{
	struct tf_store *s;

	tf_list_for_each(s, &e->stores, link)
		if (within(addr, s->map,
			   (size_t)s->nwindows * TF_WINDOW_SLOTS * TF_PAGE))
			return s;
	return NULL;
}

int ras_own_memory_lost(struct tf_ras *ras)
{
	atomic_fetch_add(&ras->unrecoverable, 1);
	atomic_store(&ras->engine->degraded, true);
	return -ENOTRECOVERABLE;
}
