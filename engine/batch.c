/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One fence, from closing to booking. The order is what keeps every byte:
 *
 *   close   pages move to staging; from here nobody else can touch them
 *   judge   compare all 4096 bytes, staged against stable or staged
 *   write   new contents into new slots
 *   map     slots (or the zero page) over the holes, write-protected
 *   back    every page that is not replaced returns home
 *   open    wake who waited
 *   book    frames, dups and counters, all under the same lock
 *
 * Until `map` succeeded for a page its bytes are in staging; after it they
 * are in the slot. There is no moment at which they are in neither.
 */
#include "engine/batch.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/book.h"
#include "engine/bridge.h"
#include "engine/chain.h"
#include "engine/copy.h"
#include "engine/forks.h"
#include "engine/mapping.h"
#include "engine/nodes.h"
#include "engine/spare.h"
#include "engine/state.h"

static int cmp_leg(const void *a, const void *b)
{
	const struct tf_leg *x = *(struct tf_leg *const *)a;
	const struct tf_leg *y = *(struct tf_leg *const *)b;

	return (x->addr > y->addr) - (x->addr < y->addr);
}

static void batch_sort(struct tf_batch *b)
{
	for (unsigned i = 0; i < b->n; i++)
		b->sorted[i] = &b->leg[i];
	qsort(b->sorted, b->n, sizeof(struct tf_leg *), cmp_leg);
	for (unsigned i = 0; i < b->n; i++)
		b->sorted[i]->stage = (uint16_t)i;
}

static bool adjacent(const struct tf_leg *a, const struct tf_leg *b)
{
	return a->addr + TF_PAGE == b->addr &&
	       a->block->region == b->block->region;
}

/* Half a pair failed: so did the other. */
static void fail_leg(struct tf_leg *l, int err)
{
	l->err = err;
	if (l->mate && !l->mate->err)
		l->mate->err = err;
}

static void fail_all(struct tf_batch *b, int err)
{
	for (unsigned i = 0; i < b->n; i++)
		fail_leg(&b->leg[i], err);
}

static void close_run(struct tf_batch *b, unsigned from, unsigned to)
{
	while (from < to) {
		struct tf_leg *l = b->sorted[from];
		unsigned n = to - from;
		long moved = tf_fence_close(b->engine, l->addr, n, l->stage);

		/* Pages that broke lie in mappings of their own, and one move
		 * does not go across mappings. */
		while (moved == -EINVAL && n > 1) {
			n /= 2;
			moved = tf_fence_close(b->engine, l->addr, n, l->stage);
		}
		if (moved <= 0) {
			fail_leg(l, moved < 0 ? (int)moved : -EAGAIN);
			from++;
			continue;
		}
		while (moved-- > 0)
			b->sorted[from++]->moved = true;
	}
}

/* Before a page leaves its home: the means to replace that, should the home
 * lose its mapping. */
static void reserve_all(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		struct tf_region *r = b->sorted[i]->block->region;
		int err;

		for (j = i + 1; j < b->n; j++)
			if (b->sorted[j]->block->region != r)
				break;
		err = tf_spare_reserve(r, j - i);
		for (unsigned k = i; err && k < j; k++)
			fail_leg(b->sorted[k], err);
	}
}

static void close_all(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		j = i + 1;
		if (b->sorted[i]->err)
			continue;
		for (; j < b->n; j++)
			if (b->sorted[j]->err ||
			    !adjacent(b->sorted[j - 1], b->sorted[j]))
				break;
		close_run(b, i, j);
	}
}

/* What a leg's staged page is to equal. */
static const char *model_of(const struct tf_batch *b, const struct tf_leg *l)
{
	const struct tf_engine *e = b->engine;

	switch ((enum tf_leg_kind)l->kind) {
	case TF_LEG_ZERO:
		return e->zero_page;
	case TF_LEG_JOIN:
	case TF_LEG_GROW:
		return tf_slot_bytes(l->block->region->store,
				     tf_dup_get(e, l->dup)->slot);
	case TF_LEG_PAIR:
		return tf_stage(e->staging, l->mate->stage);
	case TF_LEG_MATE:
	case TF_LEG_BRIDGE:
		break;
	}
	return NULL;
}

int tf_batch_hash(const struct tf_batch *b, const struct tf_leg *l,
		  uint64_t *ret)
{
	const struct tf_engine *e = b->engine;
	const struct tf_store *s = l->block->region->store;
	const char *staged = tf_stage(e->staging, l->stage);
	uint64_t hash;
	int err = e->os->hash(e->os, staged, s->secret, &hash);

	if (err)
		return err;
	if (hash != s->zero_hash)
		hash = tf_node_hash(e, staged, hash);
	*ret = hash;
	return 0;
}

/*
 * Both pages of a pair may have become something else since they were hashed,
 * and the same. Then others with that hash would be compared with the wrong
 * bytes for as long as the pair shares them.
 */
static int judge_hash(const struct tf_batch *b, const struct tf_leg *l)
{
	uint64_t hash;
	int err = tf_batch_hash(b, l, &hash);

	if (err)
		return err;
	return hash == l->hash ? 0 : -EAGAIN;
}

/* 0, or why the leg is undone. */
static int judge(const struct tf_batch *b, struct tf_leg *l)
{
	const struct tf_os *os = b->engine->os;
	int equal;

	if (l->kind == TF_LEG_BRIDGE)
		return tf_bridge_judge(b, l);
	equal = os->equal(os, tf_stage(b->engine->staging, l->stage),
			  model_of(b, l), TF_PAGE);
	if (equal < 0)
		return equal;
	if (!equal)
		return -EAGAIN;
	return l->kind == TF_LEG_PAIR ? judge_hash(b, l) : 0;
}

static void judge_all(struct tf_batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct tf_leg *l = &b->leg[i];
		int err;

		if (l->err || l->kind == TF_LEG_MATE)
			continue;
		err = judge(b, l);
		if (err)
			fail_leg(l, err);
	}
}

static bool needs_slot(const struct tf_leg *l)
{
	return !l->err && (l->kind == TF_LEG_PAIR || l->kind == TF_LEG_GROW ||
			   l->kind == TF_LEG_BRIDGE);
}

/* A second copy lies apart from the first. */
static unsigned node_for(const struct tf_engine *e, const struct tf_leg *l)
{
	const struct tf_dup *d;

	if (l->kind != TF_LEG_GROW)
		return tf_node_for(e, tf_stage(e->staging, l->stage));
	d = tf_dup_get(e, l->dup);
	return tf_node_beside(d->store, tf_slot_bytes(d->store, d->slot));
}

/* Slots in the order of addresses: neighbours become neighbours. A moved page
 * is still on its node. */
static void alloc_slots(struct tf_batch *b)
{
	const struct tf_engine *e = b->engine;

	for (unsigned i = 0; i < b->n; i++) {
		struct tf_leg *l = b->sorted[i];
		struct tf_store *s = l->block->region->store;
		int err;

		if (!needs_slot(l))
			continue;
		tf_store_use_node(s, node_for(e, l));
		err = tf_slot_alloc(s, &l->slot);
		if (err)
			fail_leg(l, err);
		l->slotted = !err;
	}
}

/* One write for staged pages and slots that are adjacent. A short write says
 * at which page it stopped; a poisoned one cannot be read. */
static void write_run(struct tf_batch *b, unsigned from, unsigned to)
{
	const struct tf_engine *e = b->engine;
	const struct tf_leg *l = b->sorted[from];
	long done = e->os->write_at(e->os, l->block->region->store->fd,
				    tf_stage(e->staging, l->stage),
				    (to - from) * TF_PAGE,
				    (uint64_t)l->slot * TF_PAGE);
	unsigned ok = done < 0 ? 0 : (unsigned)(done / (long)TF_PAGE);

	for (unsigned i = from + ok; i < to; i++)
		fail_leg(b->sorted[i], done < 0 ? (int)done : -EIO);
}

static void write_slots(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		const struct tf_leg *l = b->sorted[i];

		j = i + 1;
		if (!needs_slot(l))
			continue;
		for (; j < b->n; j++)
			if (!needs_slot(b->sorted[j]) ||
			    b->sorted[j]->slot != l->slot + (j - i) ||
			    b->sorted[j]->block->region->store !=
				    l->block->region->store)
				break;
		write_run(b, i, j);
	}
}

/* Give a written slot its dup, and both sharers their places. */
static int new_dup(struct tf_engine *e, struct tf_leg *l)
{
	uint32_t id;
	int err = tf_dup_create(l->block->region->store, l->hash, l->slot, &id);

	if (err)
		return err;
	l->slotted = false;
	if (l->reserved)
		tf_dup_unreserve(e, l->dup);
	l->dup = id;
	tf_dup_get(e, id)->bridge = l->kind == TF_LEG_BRIDGE;
	l->reserved = !tf_dup_reserve(e, id);
	if (l->mate && l->reserved) {
		l->mate->dup = id;
		l->mate->slot = l->slot;
		l->mate->reserved = !tf_dup_reserve(e, id);
	}
	if (l->reserved && (!l->mate || l->mate->reserved))
		return 0;
	if (l->reserved)
		tf_dup_unreserve(e, id);
	else
		tf_dup_retire(e, id);
	l->reserved = false;
	l->dup = 0;
	return -ENOMEM;
}

static void make_dups(struct tf_batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct tf_leg *l = b->sorted[i];

		if (needs_slot(l)) {
			int err = new_dup(b->engine, l);

			if (err)
				fail_leg(l, err);
		} else if (!l->err && l->kind == TF_LEG_JOIN) {
			l->slot = tf_dup_get(b->engine, l->dup)->slot;
		}
	}
}

static void map_run(struct tf_batch *b, unsigned from, unsigned to)
{
	struct tf_leg *first = b->sorted[from];
	bool is_protected = false;
	int err = tf_map_slots(first->block->region, first->addr, to - from,
			       first->slot, &is_protected);

	for (unsigned i = from; i < to; i++) {
		struct tf_leg *l = b->sorted[i];

		l->err = err;
		l->mapped = !err;
		l->copied = !is_protected;
	}
}

static void map_slots(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		j = i + 1;
		if (b->sorted[i]->err || b->sorted[i]->kind == TF_LEG_ZERO)
			continue;
		for (; j < b->n; j++)
			if (b->sorted[j]->err ||
			    b->sorted[j]->kind == TF_LEG_ZERO ||
			    !adjacent(b->sorted[j - 1], b->sorted[j]) ||
			    b->sorted[j]->slot != b->sorted[j - 1]->slot + 1)
				break;
		map_run(b, i, j);
	}
}

/* One look at the page tables for all that was mapped in a block. */
static void find_copied(struct tf_batch *b, unsigned from, unsigned to)
{
	const char *start = b->sorted[from]->addr;
	bool copied[TF_BLOCK_PAGES];
	unsigned n = (unsigned)((size_t)(b->sorted[to - 1]->addr - start) /
				TF_PAGE) +
		     1;
	int err = tf_find_copied(b->engine, start, n, copied);

	for (unsigned i = from; i < to; i++) {
		struct tf_leg *l = b->sorted[i];

		if (err || copied[(size_t)(l->addr - start) / TF_PAGE])
			l->copied = true;
	}
}

static void check_mapped(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		bool any = b->sorted[i]->mapped;

		for (j = i + 1; j < b->n; j++) {
			if (b->sorted[j]->block != b->sorted[i]->block)
				break;
			any |= b->sorted[j]->mapped;
		}
		if (any)
			find_copied(b, i, j);
	}
}

static void zero_run(struct tf_batch *b, unsigned from, unsigned to)
{
	const struct tf_engine *e = b->engine;
	unsigned n = to - from;

	while (from < to) {
		struct tf_leg *l = b->sorted[from];
		long done = e->os->uffd_zeropage(e->os, e->uffd_guest, l->addr,
						 n * TF_PAGE);

		if (done <= 0 && n > 1) { /* it may cross mappings */
			n /= 2;
			continue;
		}
		if (done <= 0)
			b->sorted[from++]->err = done < 0 ? (int)done : -EAGAIN;
		for (; done > 0; done -= (long)TF_PAGE)
			b->sorted[from++]->mapped = true;
		n = to - from;
	}
}

static void map_zeros(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		j = i + 1;
		if (b->sorted[i]->err || b->sorted[i]->kind != TF_LEG_ZERO)
			continue;
		for (; j < b->n; j++)
			if (b->sorted[j]->err ||
			    b->sorted[j]->kind != TF_LEG_ZERO ||
			    !adjacent(b->sorted[j - 1], b->sorted[j]))
				break;
		zero_run(b, i, j);
	}
}

static void put_back(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		const struct tf_leg *l = b->sorted[i];

		j = i + 1;
		if (!l->moved || l->mapped)
			continue;
		for (; j < b->n; j++)
			if (!b->sorted[j]->moved || b->sorted[j]->mapped ||
			    !adjacent(b->sorted[j - 1], b->sorted[j]))
				break;
		tf_fence_put_back(l->block->region, b->engine->uffd_guest,
				  l->addr, j - i, l->stage);
	}
}

/* Wake by clusters: one call for what lies within a block. */
static void open_all(struct tf_batch *b)
{
	for (unsigned i = 0, j; i < b->n; i = j) {
		for (j = i + 1; j < b->n; j++)
			if (b->sorted[j]->block != b->sorted[i]->block)
				break;
		tf_fence_open(b->engine, b->sorted[i]->addr,
			      b->sorted[j - 1]->addr + TF_PAGE);
	}
}

/* New contents that are to have a second copy from the beginning. */
static void keep_copies(const struct tf_batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		const struct tf_leg *l = &b->leg[i];
		const struct tf_frame *f = &l->block->frames[l->page];

		if (l->kind == TF_LEG_PAIR && f->state == TF_FRAME_SHARED)
			tf_copy_keep(b->engine, f->shared.dup);
	}
}

unsigned tf_batch_run(struct tf_batch *b)
{
	unsigned used = b->n;
	bool gate;

	if (!used)
		return 0;
	batch_sort(b);
	reserve_all(b);
	gate = tf_fork_gate_enter();
	if (!gate)
		fail_all(b, -EAGAIN);
	close_all(b);
	judge_all(b);
	alloc_slots(b);
	tf_bridge_prune(b);
	write_slots(b);
	make_dups(b);
	map_slots(b);
	check_mapped(b);
	map_zeros(b);
	put_back(b);
	if (gate)
		tf_fork_gate_leave();
	open_all(b);
	tf_book_batch(b);
	if (b->engine->opts.min_copies > 1)
		keep_copies(b);
	b->n = 0;
	b->cost = 0;
	b->planned = 0;
	return used;
}
