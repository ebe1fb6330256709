/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every change of a frame's state goes through here, so that the counters and
 * the reverse map cannot be forgotten on any path.
 */
#include "engine/book.h"

#include <errno.h>

#include "engine/candidates.h"
#include "engine/chain.h"
#include "engine/mapping.h"
#include "engine/scatter.h"
#include "engine/state.h"

/* Passes after which a block that broke may have cooled. */
#define GATHER_AFTER 4u

static void zero_enter(struct tf_block *b, unsigned page)
{
	struct tf_frame *f = &b->frames[page];

	tf_frame_reset(b, page);
	tf_frame_pend(b, page, false);
	f->state = TF_FRAME_ZERO;
	b->region->zero++;
	b->region->engine->n.zero++;
}

void tf_book_leave(struct tf_block *b, unsigned page)
{
	struct tf_engine *e = b->region->engine;
	struct tf_frame *f = &b->frames[page];

	switch ((enum tf_frame_state)f->state) {
	case TF_FRAME_CANDIDATE:
		tf_candidate_remove(b, page);
		break;
	case TF_FRAME_SHARED:
		tf_dup_unlink(e, b, page, false);
		break;
	case TF_FRAME_ZERO:
		b->region->zero--;
		e->n.zero--;
		break;
	case TF_FRAME_COW:
		b->region->cow--;
		e->n.cow--;
		tf_dup_unspan(e, f->shared.dup);
		break;
	case TF_FRAME_NONE:
	case TF_FRAME_NEW:
		break;
	}
}

void tf_book_cow(struct tf_block *b, unsigned page)
{
	struct tf_engine *e = b->region->engine;
	struct tf_frame *f = &b->frames[page];
	uint32_t dup = f->shared.dup;

	tf_unprotect(e, tf_frame_addr(b, page), 1);
	tf_dup_unlink(e, b, page, true);
	tf_frame_reset(b, page);
	tf_frame_pend(b, page, false);
	f->shared.dup = dup;
	f->state = TF_FRAME_COW;
	b->region->cow++;
	e->n.cow++;
}

void tf_book_private(struct tf_block *b, unsigned page, bool foreign)
{
	tf_book_leave(b, page);
	tf_frame_reset(b, page);
	if (!foreign)
		return;
	b->frames[page].flags |= TF_FRAME_FOREIGN;
	b->foreign = true;
	b->gather_at = b->region->engine->pass_no + GATHER_AFTER;
}

void tf_book_hole(struct tf_block *b, unsigned page)
{
	bool mapped_over = b->frames[page].state == TF_FRAME_SHARED ||
			   b->frames[page].state == TF_FRAME_COW;

	tf_scatter_lose(b, page);
	tf_book_leave(b, page);
	tf_frame_forget(b, page);
	if (mapped_over)
		b->frames[page].flags = 0;
}

void tf_book_written(struct tf_block *b, unsigned page)
{
	struct tf_frame *f = &b->frames[page];

	/* A merged frame is written through the resolver, never behind it:
	 * what the walker saw was the page before it was merged. */
	if (f->state == TF_FRAME_SHARED || f->state == TF_FRAME_COW)
		return;
	tf_book_leave(b, page);
	tf_frame_reset(b, page);
}

void tf_book_zero(struct tf_batch *batch, struct tf_block *b, unsigned page)
{
	tf_frame_refuse(b, page, false);
	b->frames[page].vain = 0;
	zero_enter(b, page);
	batch->pass->zero_merged++;
}

static void count_failure(struct tf_batch *batch, const struct tf_leg *l)
{
	struct tf_engine *e = batch->engine;

	if (l->err == -ECANCELED) /* a bridge to nowhere */
		return;
	if (l->err == -EAGAIN) {
		e->n.changed++;
		batch->pass->changed++;
	} else {
		e->n.busy++;
		batch->pass->busy++;
	}
}

static void book_failure(struct tf_batch *batch, struct tf_leg *l)
{
	struct tf_engine *e = batch->engine;

	if (l->reserved)
		tf_dup_unreserve(e, l->dup);
	if (l->slotted)
		tf_slot_abandon(l->block->region->store, l->slot);
	count_failure(batch, l);
	tf_book_leave(l->block, l->page);
	tf_frame_reset(l->block, l->page);
}

static void count_success(struct tf_batch *batch, const struct tf_leg *l)
{
	if (l->kind == TF_LEG_BRIDGE) {
		batch->pass->bridged++;
		l->block->region->guest->bridges.made++;
		return;
	}
	batch->pass->merged++;
	batch->pass->promoted += l->kind == TF_LEG_PAIR ||
				 l->kind == TF_LEG_GROW;
}

static void book_success(struct tf_batch *batch, struct tf_leg *l)
{
	struct tf_engine *e = batch->engine;

	if (l->kind == TF_LEG_ZERO) {
		tf_book_zero(batch, l->block, l->page);
		return;
	}
	tf_frame_pend(l->block, l->page, false);
	tf_frame_refuse(l->block, l->page, false);
	l->block->frames[l->page].vain = 0;
	tf_dup_link(e, l->dup, l->block, l->page);
	count_success(batch, l);
	if (l->copied)
		tf_book_cow(l->block, l->page);
}

void tf_book_batch(struct tf_batch *batch)
{
	for (unsigned i = 0; i < batch->n; i++) {
		struct tf_leg *l = &batch->leg[i];

		if (l->mapped)
			book_success(batch, l);
		else
			book_failure(batch, l);
	}
	for (unsigned i = 0; i < batch->n; i++)
		if (i == 0 ||
		    batch->sorted[i]->block != batch->sorted[i - 1]->block)
			tf_count_vmas(batch->sorted[i]->block);
}
