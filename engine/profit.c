/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs and profit. Reads tables, changes nothing. */
#include "engine/profit.h"

#include "engine/candidates.h"
#include "engine/chain.h"
#include "engine/state.h"

/* Of the engine, for a frame that shares: its place among the sharers, and
 * its share of the dup's record. */
#define SHARER_BYTES 36u

/* What a page would be merged with: a dup's slot or a candidate's place. */
struct target {
	uint32_t slot; /* valid if `stable` */
	uint32_t ref;  /* of the candidate, 0: none */
	bool stable;
};

static struct target target_of(const struct tf_store *s, uint64_t hash)
{
	uint32_t dup = tf_chain_pick(s, hash);

	if (dup)
		return (struct target){
			.slot = tf_dup_get(s->engine, dup)->slot,
			.stable = true,
		};
	return (struct target){ .ref = tf_candidate_find(s, hash) };
}

/* Slots are handed out in order, so neighbours among candidates become
 * neighbours in the store. */
static bool follows(const struct target *a, const struct target *b)
{
	if (a->stable != b->stable)
		return false;
	if (a->stable)
		return b->slot == a->slot + 1;
	return a->ref && b->ref == a->ref + 1;
}

static bool joins_before(const struct tf_block *b, unsigned page,
			 const struct target *t)
{
	const struct tf_frame *f;

	if (!page || !t->stable)
		return false;
	f = &b->frames[page - 1];
	return f->state == TF_FRAME_SHARED &&
	       tf_dup_get(b->region->engine, f->shared.dup)->slot + 1 ==
		       t->slot;
}

struct tf_run tf_run_at(const struct tf_block *b, unsigned page,
			const struct tf_bits *look, const uint64_t *hash,
			unsigned most)
{
	const struct tf_store *s = b->region->store;
	struct target last = target_of(s, hash[page]), next;
	struct tf_run run = { .pages = 1,
			      .joins = joins_before(b, page, &last) };

	while (run.pages < most && page + run.pages < TF_BLOCK_PAGES &&
	       tf_bit(look, page + run.pages)) {
		next = target_of(s, hash[page + run.pages]);
		if (!follows(&last, &next))
			break;
		last = next;
		run.pages++;
	}
	return run;
}

/* A page that has been quiet for `waited` passes is expected to stay so for as
 * long again; one without a history, for ever. */
static uint64_t expected_bytes(const struct tf_frame *f)
{
	uint64_t waited = f->fresh.looks;

	if (!f->history)
		return TF_PAGE;
	return TF_PAGE * waited / (waited + TF_BREAK_SOON);
}

bool tf_profit_pays(const struct tf_run *run, const struct tf_frame *f)
{
	uint64_t cost = run->pages * SHARER_BYTES;

	if (!run->joins)
		cost += 2 * TF_VMA_BYTES;
	return run->pages * expected_bytes(f) > cost;
}

/* Of the engine and the kernel, for a bridge: its dup, its slot, and the slot's
 * entries in the file and in our mapping of it. */
#define BRIDGE_BYTES 72u

/*
 * What a break is worth: its writer waits 80 us. Merging a scattered page takes
 * 15 us and saves 3600 bytes; whoever pays that price for memory would pay 80
 * us for 19,200 bytes.
 */
#define BREAK_BYTES 19200u

/* Bridges of a guest that nothing is known about are trusted like 256 of which
 * one has broken. */
#define PRIOR 256u

bool tf_profit_bridge(const struct tf_bridges *past, unsigned gap)
{
	uint64_t made = (uint64_t)past->made + PRIOR;
	uint64_t broke = (uint64_t)past->broke + 1;

	return 2 * TF_VMA_BYTES * made >
	       gap * (BRIDGE_BYTES * made + BREAK_BYTES * broke);
}
