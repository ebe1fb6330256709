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
#include "engine/copy.h"
#include "engine/forks.h"
#include "engine/judge.h"
#include "engine/mapping.h"
#include "engine/promote.h"
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

void tf_leg_fail(struct tf_leg *l, int err)
{
	l->err = err;
	if (l->mate && !l->mate->err)
		l->mate->err = err;
}

static void fail_all(struct tf_batch *b, int err)
{
	for (unsigned i = 0; i < b->n; i++)
		tf_leg_fail(&b->leg[i], err);
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
			tf_leg_fail(l, moved < 0 ? (int)moved : -EAGAIN);
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
			tf_leg_fail(b->sorted[k], err);
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
	tf_judge_all(b);
	tf_promote_all(b);
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
