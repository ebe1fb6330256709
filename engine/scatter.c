/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks that are KSM's. Owns `ksm` and `handed` of a block. */
#include "engine/scatter.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "engine/base/cleanup.h"
#include "engine/book.h"
#include "engine/pins.h"
#include "engine/state.h"

/* So many of a block's 512 pages must have been refused for want of mappings:
 * KSM reads all of them again and again. */
#define DENSE 32u

static bool ksm_runs(const struct tf_engine *e)
{
	TF_AUTOFREE char *text = NULL;

	return !e->os->read_file(e->os, "/sys/kernel/mm/ksm/run", &text) &&
	       atoi(text) == 1;
}

void tf_scatter_begin(struct tf_engine *e)
{
	bool ran = e->ksm_runs;

	if (e->opts.scatter != TF_SCATTER_KSM)
		return;
	e->ksm_runs = ksm_runs(e);
	if (!e->ksm_runs && (ran || !e->ksm_asked))
		tf_log(&e->log, TF_LOG_WARNING,
		       "scatter=ksm has no effect: KSM does not run; start it "
		       "(echo 1 > /sys/kernel/mm/ksm/run)");
	e->ksm_asked = true;
}

static bool any_pinned(const struct tf_block *b)
{
	const struct tf_region *r = b->region;
	const char *start = tf_region_block_start(r, b->no);
	const char *end = tf_region_block_end(r, b->no);

	return tf_pinned_range(r->guest, tf_region_gpa(r, start),
			       (uint64_t)(end - start));
}

bool tf_scatter_due(const struct tf_block *b)
{
	return !b->ksm && b->nrefused >= DENSE && b->region->engine->ksm_runs &&
	       !any_pinned(b);
}

static bool is_merged(const struct tf_frame *f)
{
	return f->state == TF_FRAME_SHARED || f->state == TF_FRAME_COW;
}

static int advise_block(const struct tf_block *b, int advice)
{
	const struct tf_os *os = b->region->engine->os;
	char *start = tf_region_block_start(b->region, b->no);
	char *end = tf_region_block_end(b->region, b->no);

	return os->advise(os, start, (size_t)(end - start), advice);
}

/* A private frame of a handed block: NEW, and waiting for nothing of ours. */
static void hand_frame(struct tf_block *b, unsigned page)
{
	tf_book_leave(b, page);
	tf_frame_reset(b, page);
	tf_frame_pend(b, page, false);
	b->handed++;
	b->region->engine->n.handed++;
}

void tf_scatter_hand_over(struct tf_block *b)
{
	if (advise_block(b, MADV_MERGEABLE)) {
		/* asked again with the next pass */
		b->region->engine->ksm_runs = false;
		return;
	}
	b->ksm = true;
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
		if (!is_merged(&b->frames[i]) &&
		    b->frames[i].state != TF_FRAME_NONE)
			hand_frame(b, i);
}

void tf_scatter_adopt(struct tf_block *b, unsigned page, unsigned n)
{
	const struct tf_os *os = b->region->engine->os;

	if (!b->ksm)
		return;
	os->advise(os, tf_frame_addr(b, page), n * TF_PAGE, MADV_MERGEABLE);
	for (unsigned i = page; i < page + n; i++)
		hand_frame(b, i);
}

void tf_scatter_lose(struct tf_block *b, unsigned page)
{
	if (!b->ksm || b->frames[page].state != TF_FRAME_NEW)
		return;
	b->handed--;
	b->region->engine->n.handed--;
}

void tf_scatter_take_back(struct tf_block *b)
{
	struct tf_engine *e = b->region->engine;

	if (!b->ksm)
		return;
	if (!tf_attrs_advised(&b->region->attrs, MADV_MERGEABLE) &&
	    advise_block(b, MADV_UNMERGEABLE))
		tf_log(&e->log, TF_LOG_WARNING,
		       "guest %s: no memory to take all pages back from KSM",
		       b->region->guest->name);
	b->ksm = false;
	e->n.handed -= b->handed;
	b->handed = 0;
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
		if (b->frames[i].state == TF_FRAME_NEW)
			tf_frame_pend(b, i, true);
}
