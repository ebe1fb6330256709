/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an address is, and what is done about it. Under the engine's lock no
 * fence is shut and no page is on its way anywhere, so the tables are true.
 */
#include <errno.h>
#include <string.h>

#include "engine/book.h"
#include "engine/breaks.h"
#include "engine/chain.h"
#include "engine/copy.h"
#include "engine/fence.h"
#include "engine/mapping.h"
#include "engine/marker.h"
#include "engine/part.h"
#include "engine/store.h"
#include "ras/internal.h"

void ras_say(struct ras_request *q, enum tf_ras_class cls,
	     enum tf_ras_source source)
{
	q->verdict.cls = cls;
	q->verdict.source = source;
}

void ras_say_where(struct ras_request *q, const struct tf_region *r)
{
	q->verdict.guest = r->guest;
	q->verdict.gpa = tf_region_gpa(r, (const char *)q->addr);
}

static uint64_t entry_of(const struct tf_engine *e, const char *addr)
{
	uint64_t entry = 0;

	e->os->pagemap_read(e->os, e->pagemap, addr, &entry, 1);
	return entry;
}

/* Whoever touches it again finds a page there. Without the page tables nothing
 * is ever fenced, so that we may touch it ourselves. */
bool ras_is_mended(const struct tf_engine *e, const char *addr)
{
	uint64_t entry;

	if (e->pagemap < 0)
		return e->os->equal(e->os, addr, e->zero_page, TF_PAGE) >= 0;
	entry = entry_of(e, addr);
	return (entry & TF_PM_PRESENT) || tf_marker_is(e, entry) || !entry;
}

/* A thread that is no vCPU would touch the lost page for ever: it gets an
 * empty one, and the guest its vMCE all the same. */
static void replace_lost(struct tf_region *r, char *addr)
{
	struct tf_block *b = tf_block_make(r, tf_region_block_of(r, addr));

	if (!b || tf_map_hole(r, addr, 1, b->armed))
		return;
	if (b->armed)
		tf_plug_holes(r->engine, addr, addr + TF_PAGE);
	tf_book_hole(b, tf_region_page_of(r, addr));
}

/* The engine does not look at it again. */
static void forget_lost(struct tf_region *r, char *addr)
{
	struct tf_block *b = tf_block_find(r, tf_region_block_of(r, addr));
	unsigned page = tf_region_page_of(r, addr);

	if (b && b->frames[page].state == TF_FRAME_NEW)
		tf_frame_pend(b, page, false);
}

static void answer_private(struct tf_ras *ras, struct ras_request *q,
			   struct tf_region *r)
{
	char *addr = (char *)q->addr;

	ras_say_where(q, r);
	if (ras_is_mended(ras->engine, addr)) {
		ras_say(q, TF_RAS_TRANSIENT, TF_RAS_FROM_NOWHERE);
		return;
	}
	ras_say(q, TF_RAS_PRIVATE, TF_RAS_FROM_NOWHERE);
	ras_vmce_post(ras, r->guest, q->verdict.gpa, q->required,
		      q->required ? q->tid : 0);
	if (q->again)
		replace_lost(r, addr);
	else
		forget_lost(r, addr);
}

/* The kernel's zero page was here, and nothing was written since. */
static void answer_zero(struct tf_ras *ras, struct ras_request *q,
			struct tf_block *b, unsigned page)
{
	char *addr = tf_frame_addr(b, page);

	ras_say_where(q, b->region);
	if (ras_is_mended(ras->engine, addr)) {
		ras_say(q, TF_RAS_TRANSIENT, TF_RAS_FROM_NOWHERE);
		return;
	}
	if (tf_map_hole(b->region, addr, 1, b->armed)) {
		q->err = -EIO;
		return;
	}
	tf_bit_clear(&b->lost_zero, page);
	if (b->armed)
		tf_plug_holes(ras->engine, addr, addr + TF_PAGE);
	tf_fence_open(ras->engine, addr, addr + TF_PAGE);
	ras->engine->n.heals++;
	ras->engine->n.heals_other++;
	ras_say(q, TF_RAS_RECOVERABLE, TF_RAS_FROM_ZERO);
}

/* One alias of a healthy slot is lost: map it again. */
static bool remap_alias(struct tf_engine *e, struct tf_block *b, unsigned page)
{
	uint32_t dup = b->frames[page].shared.dup;
	const char *addr = tf_frame_addr(b, page);

	return ras_is_mended(e, addr) ||
	       (!tf_dup_reserve(e, dup) && !tf_rehome(b, page, dup));
}

/* The sharers of a dup, wherever the error was seen. Answers the request. */
static void answer_dup(struct tf_ras *ras, struct ras_request *q,
		       struct tf_ras_verdict *told, uint32_t dup,
		       uint32_t first)
{
	struct ras_heal heal = { .dup = dup, .first = first, .asker = q };
	bool healed;

	ras_say(q, TF_RAS_SHARED, TF_RAS_FROM_NOWHERE);
	*told = q->verdict;
	healed = ras_heal_dup(ras, &heal);
	told->source = heal.source;
	if (!healed)
		told->cls = TF_RAS_PRIVATE;
	if (!heal.asker)
		return;
	q->verdict = *told;
	ras_request_done(ras, q);
}

static bool answer_frame(struct tf_ras *ras, struct ras_request *q,
			 struct tf_ras_verdict *told, struct tf_region *r)
{
	struct tf_engine *e = ras->engine;
	struct tf_block *b =
		tf_block_find(r, tf_region_block_of(r, (char *)q->addr));
	unsigned page = tf_region_page_of(r, (char *)q->addr);
	uint32_t dup;

	if (b && tf_bit(&b->lost_zero, page)) {
		answer_zero(ras, q, b, page);
		return false;
	}
	if (b && !q->again && tf_cow_is_lost(b, page))
		ras_rejoin(b, page);
	if (!b || b->frames[page].state != TF_FRAME_SHARED) {
		answer_private(ras, q, r);
		return false;
	}
	ras_say_where(q, r);
	dup = b->frames[page].shared.dup;
	if (tf_dup_is_healthy(e, dup)) {
		ras_say(q, TF_RAS_SHARED, TF_RAS_FROM_DUP);
		if (!remap_alias(e, b, page))
			q->err = -EIO;
		return false;
	}
	answer_dup(ras, q, told, dup, tf_ref(b, page));
	return true;
}

static bool answer_slot(struct tf_ras *ras, struct ras_request *q,
			struct tf_ras_verdict *told, const struct tf_store *s)
{
	size_t off = (size_t)((const char *)q->addr - s->map);
	uint32_t dup = tf_slot_dup(s, (uint32_t)(off / TF_PAGE));

	if (!dup || tf_dup_is_healthy(ras->engine, dup)) {
		ras_say(q, TF_RAS_TRANSIENT, TF_RAS_FROM_NOWHERE);
		return false;
	}
	answer_dup(ras, q, told, dup, 0);
	return true;
}

/* Neither a guest's nor a store's. */
static void answer_unknown(struct tf_ras *ras, struct ras_request *q)
{
	bool ours = ras_index_owns(ras->engine, q->hit);

	ras_say(q, ours ? TF_RAS_ENGINE_OWNED : TF_RAS_NOT_OURS,
		TF_RAS_FROM_NOWHERE);
	if (ours)
		q->err = ras_own_memory_lost(ras);
}

void ras_answer(struct tf_ras *ras, struct ras_request *q,
		struct tf_ras_verdict *told)
{
	struct tf_engine *e = ras->engine;
	struct tf_region *r = tf_region_at(e, (char *)q->addr);
	const struct tf_store *s = r ? NULL : ras_store_at(e, (void *)q->addr);

	if (r && answer_frame(ras, q, told, r))
		return;
	if (s && answer_slot(ras, q, told, s))
		return;
	if (!r && !s)
		answer_unknown(ras, q);
	*told = q->verdict;
	ras_request_done(ras, q);
}
