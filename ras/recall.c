/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames that the kernel would copy on write are in no list of sharers. Where
 * their slot is lost and they hold no copy yet, nobody can write to them: they
 * are sharers as any other, and heal with those. Caller holds the engine's
 * lock, which is dropped now and then.
 */
#include "engine/book.h"
#include "engine/chain.h"
#include "engine/part.h"
#include "ras/internal.h"

/* Blocks between two stop points: about 0.1 ms. */
#define STEP 64u

void ras_rejoin(struct tf_block *b, unsigned page)
{
	struct tf_engine *e = b->region->engine;
	uint32_t dup = b->frames[page].shared.dup;

	if (tf_dup_reserve(e, dup))
		return;
	tf_book_leave(b, page);
	tf_dup_link(e, dup, b, page);
}

static void recall_block(struct tf_block *b, uint32_t dup)
{
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
		if (b->frames[i].state == TF_FRAME_COW &&
		    b->frames[i].shared.dup == dup && tf_cow_is_lost(b, i))
			ras_rejoin(b, i);
}

static void recall_region(struct tf_region *r, uint32_t dup)
{
	struct tf_engine *e = r->engine;
	struct tf_block *b;
	unsigned n = 0;

	r->users++;
	for (uint64_t no = 0; (b = tf_block_next(r, no)); no = b->no + 1ul) {
		recall_block(b, dup);
		if (++n % STEP == 0)
			tf_stop_point(e);
	}
	if (--r->users == 0)
		pthread_cond_broadcast(&e->left);
}

void ras_recall(struct tf_engine *e, uint32_t dup)
{
	const struct tf_store *s = tf_dup_get(e, dup)->store;
	struct tf_region *r = NULL;
	const char *above = NULL;

	if (!tf_dup_has_twin(e, dup))
		return; /* who is not told yet is when it touches its page */
	while (e->n.cow && (r = tf_region_above(e, above))) {
		above = r->start;
		if (r->store == s && r->cow && !r->dying)
			recall_region(r, dup);
	}
}
