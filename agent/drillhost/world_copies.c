/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See world.h: the frames of a content, and having one moved. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include <numaif.h>

#include "agent/drillhost/offline.h"
#include "agent/drillhost/world_merge.h"

/* Corrected errors until the kernel has had enough of a page, by its own
 * threshold; one is found at each poll. */
#define CORRECTED_MAX 16
#define POLL_TRIES 300 /* times world_rest() */

char *world_hva(const struct world *w, unsigned guest,
		const struct tf_work_page *page)
{
	return tf_vm_hva(tf_work_vm(w->faults.guest[guest].work), page->gpa,
			 TF_PAGE_SIZE);
}

int world_look_up(const char *hva, struct world_copy *ret)
{
	void *page = (void *)hva;
	int r = world_pa(hva, &ret->pa);

	ret->hva = hva;
	ret->node = -ENOENT;
	if (r)
		return r;
	return move_pages(0, 1, &page, NULL, &ret->node, 0) ? -errno : 0;
}

static bool is_new(const struct world_copy *list, unsigned n, uint64_t pa)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].pa == pa)
			return false;
	return true;
}

int world_copies(struct world *world, const struct world_victim *victim,
		 struct world_copy *ret, unsigned room)
{
	const struct fault like = { .guest = victim->guest,
				    .page = victim->page };
	struct tf_work_page p = { .size = sizeof(p) };
	struct world_copy one;
	unsigned found = 0;

	for (unsigned n = 0; n < world->faults.nguests; n++) {
		struct tf_work *work = world->faults.guest[n].work;

		for (uint64_t i = 0; i < world->faults.guest[n].pages; i++) {
			if (tf_work_page(work, i, &p) || p.hot ||
			    !faults_same(&like, n, &p))
				continue;
			if (world_look_up(world_hva(world, n, &p), &one))
				return -ENOENT;
			if (found < room && is_new(ret, found, one.pa))
				ret[found++] = one;
		}
	}
	return (int)found;
}

int world_book_lost(struct world *world, const struct world_victim *victim)
{
	const struct fault like = { .guest = victim->guest,
				    .page = victim->page };
	struct tf_work_page p = { .size = sizeof(p) };
	int r = 0;

	for (unsigned n = 0; n < world->faults.nguests; n++)
		for (uint64_t i = 0; i < world->faults.guest[n].pages; i++)
			if (!tf_work_page(world->faults.guest[n].work, i, &p) &&
			    !p.hot && faults_same(&like, n, &p) && !r)
				r = faults_note_lost(&world->faults, n, &p);
	return r ? world_failed(world, "the book of faults", r) : 0;
}

/* ---- moving ---- */

static bool knows(const struct world *w)
{
	uint64_t n = 0;

	return !victim_count(&n) && n > w->corrupted;
}

/* Corrected errors, each found by the kernel before the next one comes. */
static int by_corrected(struct world *w, uint64_t pa)
{
	for (int n = 0; n < CORRECTED_MAX; n++) {
		int r = victim_lose(w->cell, pa, LOSE_CORRECTED);

		if (r)
			return r;
		for (int i = 0; i < POLL_TRIES && !knows(w); i++)
			world_rest();
		if (knows(w))
			return 0;
	}
	return -ETIMEDOUT;
}

int world_move(struct world *world, const char *hva, bool corrected)
{
	uint64_t from, to;
	int r = world_pa(hva, &from);

	if (r)
		return r;
	r = corrected ? by_corrected(world, from) : offline_soft(from);
	if (!r)
		r = victim_wait(++world->corrupted);
	if (!r)
		r = world_pa(hva, &to);
	if (!r && from == to)
		r = -EIO;
	return r;
}
