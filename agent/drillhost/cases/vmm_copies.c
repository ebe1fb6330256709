/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, guests of the lightweight VMM under nested KVM: deferred errors on the
 * copies of one content. One after the other: the page, the copy that healed it, the
 * fresh copy that was made for it. And both copies at once, which nothing heals: each
 * page with that content is one machine check.
 */
#include <errno.h>

#include "agent/drillhost/world.h"

#define COPIES_MAX 8
#define STEPS 3

static int begin(struct cell *cell, struct world *w, struct world_victim *v)
{
	const struct world_opts opts = { .backend = TF_BACKEND_KVM };
	int r = world_create(cell, &opts, w);

	if (!r)
		r = world_pause(w);
	return r ? r : world_pick(w, TF_WORK_COMMON, v);
}

static int blame(struct cell *cell, const char *what)
{
	row_blame(cell->row, "%s", what);
	return -EIO;
}

static bool is_among(const uint64_t *list, unsigned n, uint64_t pa)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i] == pa)
			return true;
	return false;
}

/* Frames that hold it now, none of which was lost. At least two. */
static int look(struct world *w, const struct world_victim *v,
		const uint64_t *lost, unsigned nlost,
		struct world_copy copies[COPIES_MAX])
{
	int n = world_copies(w, v, copies, COPIES_MAX);

	if (n < 2)
		return blame(w->cell, "there are no two copies of a content");
	for (int i = 0; i < n; i++)
		if (is_among(lost, nlost, copies[i].pa))
			return blame(w->cell, "a frame that was lost is used");
	return n;
}

static int lose_frame(struct world *w, const struct world_victim *v,
		      uint64_t pa)
{
	int r = world_book(w, v);

	if (!r)
		r = world_lose_pa(w, pa, LOSE_DEFERRED);
	return r ? r : world_early(w);
}

/* The page's own, then the donor, which was there before, then the fresh copy,
 * which was not. */
static int one_by_one(struct world *w, const struct world_victim *v)
{
	uint64_t lost[STEPS] = { v->pa };
	struct world_copy copies[COPIES_MAX];
	int n = look(w, v, NULL, 0, copies), r = n < 0 ? n : 0;

	for (int i = 0; i < n; i++)
		if (copies[i].pa != v->pa)
			lost[1] = copies[i].pa;
	if (!r)
		r = lose_frame(w, v, lost[0]);
	n = r ? r : look(w, v, lost, 1, copies);
	for (int i = 0; i < n; i++)
		if (copies[i].pa != lost[1])
			lost[2] = copies[i].pa;
	if (n >= 0)
		r = lose_frame(w, v, lost[1]);
	if (n >= 0 && !r)
		r = lose_frame(w, v, lost[2]);
	if (n >= 0 && !r)
		n = look(w, v, lost, STEPS, copies);
	return n < 0 ? n : r;
}

/* The bytes of both are gone before the kernel tells of the first: else that
 * heals from the second. */
static int both(struct world *w, const struct world_victim *v)
{
	struct world_copy copies[COPIES_MAX];
	int n = look(w, v, NULL, 0, copies), r = n < 0 ? n : 0;

	if (!r)
		r = world_book_lost(w, v);
	for (int i = 0; i < n && !r; i++)
		r = victim_lose(w->cell, copies[i].pa, LOSE_BYTES);
	for (int i = 0; i < n && !r; i++)
		r = world_lose_pa(w, copies[i].pa, LOSE_DEFERRED);
	return r;
}

static void run(struct cell *cell,
		int (*lose)(struct world *, const struct world_victim *))
{
	static struct world world;
	struct world_victim v = { 0 };
	int r = begin(cell, &world, &v);

	if (!r)
		r = lose(&world, &v);
	if (!r)
		r = world_resume(&world);
	if (!r)
		world_finish(&world);
}

static void copies_in_turn(struct cell *cell)
{
	run(cell, one_by_one);
}

static void copies_at_once(struct cell *cell)
{
	run(cell, both);
}

/* By the kernel's merging there is one copy. */
static void only_copy(struct cell *cell)
{
	world_one_fault(cell,
			&(struct world_fault){ .opts.backend = TF_BACKEND_KVM,
					       .kind = TF_WORK_COMMON,
					       .how = LOSE_DEFERRED,
					       .early = true });
}

#define NEEDS                                                                  \
	(CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) | CAP(MERGE))

const struct drill_case drill_vmm_copies_in_turn = {
	.name = "vmm-copies-in-turn",
	.fault = "a shared page, then its donor, then the new copy",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 90,
	.twinfold = copies_in_turn,
	.baseline = only_copy,
};

const struct drill_case drill_vmm_copies_at_once = {
	.name = "vmm-copies-at-once",
	.fault = "both copies of a content at once",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 90,
	.twinfold = copies_at_once,
	.baseline = only_copy,
};
