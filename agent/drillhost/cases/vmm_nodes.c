/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, two NUMA nodes, guests of the lightweight VMM under nested KVM, each with
 * its memory on a node of its own. Where every content is kept twice: the two lie on
 * different nodes, and what is lost on one heals from the other. Where pages may
 * not be merged across nodes (merge_across_nodes = 0): no page is served from
 * another node than its guest's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/drillhost/world_merge.h"

#define COPIES_MAX 8

static struct world_opts options(int across)
{
	struct world_opts opts = { .backend = TF_BACKEND_KVM, .spread = true };

	world_engine_opts(&opts.engine);
	opts.engine.merge_across_nodes = across;
	return opts;
}

/* Nodes that hold a copy, as a set. */
static unsigned nodes_of(const struct world_copy *copies, int n)
{
	unsigned set = 0;

	for (int i = 0; i < n; i++)
		if (copies[i].node >= 0)
			set |= 1u << copies[i].node;
	return set;
}

static int look(struct world *w, const struct world_victim *v,
		struct world_copy copies[COPIES_MAX])
{
	int n = world_copies(w, v, copies, COPIES_MAX);

	return n > 0 ? n : world_failed(w, "the copies of a content", n);
}

/* Its copies are on both nodes, and none is where the lost one was. */
static int check_apart(struct world *w, const struct world_victim *v,
		       uint64_t lost)
{
	struct world_copy copies[COPIES_MAX];
	int n = look(w, v, copies);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		if (copies[i].pa == lost)
			return world_failed(w, "a frame that was lost is used",
					    -EIO);
	if (nodes_of(copies, n) != 3)
		return world_failed(w, "both copies lie on one node", -EIO);
	return 0;
}

static unsigned node_of_guest(unsigned guest)
{
	return guest % 2;
}

/* Each page with a twin, of this guest. */
static int check_guest(struct world *w, unsigned n, uint64_t *pages)
{
	struct tf_work *work = w->faults.guest[n].work;
	struct tf_work_page p = { .size = sizeof(p) };
	struct world_copy one;

	for (uint64_t i = 0; i < w->faults.guest[n].pages; i++) {
		if (tf_work_page(work, i, &p) || p.hot ||
		    (p.kind != TF_WORK_COMMON && p.kind != TF_WORK_TWIN))
			continue;
		if (world_look_up(world_hva(w, n, &p), &one))
			return world_failed(w, "a page has no frame", -ENOENT);
		if (one.node != (int)node_of_guest(n))
			return world_failed(
				w, "a page is served from another node", -EIO);
		++*pages;
	}
	return 0;
}

static int check_own_nodes(struct world *w, uint64_t *pages)
{
	int r = 0;

	for (unsigned n = 0; n < w->faults.nguests && !r; n++)
		r = check_guest(w, n, pages);
	return r;
}

/* Before the fault, and after it, as the configuration wants it. */
static int check(struct world *w, const struct world_victim *v, uint64_t lost)
{
	uint64_t pages = 0;

	if (!w->engine)
		return 0;
	if (w->opts.engine.merge_across_nodes)
		return check_apart(w, v, lost);
	return check_own_nodes(w, &pages);
}

static void say(struct row *row, const char *what)
{
	size_t used = strlen(row->outcome);

	if (row->configuration == ROW_TWINFOLD && row->passed)
		snprintf(row->outcome + used, sizeof(row->outcome) - used,
			 "; %s", what);
}

static void run(struct cell *cell, int across, const char *what)
{
	static struct world world;
	const struct world_opts opts = options(across);
	struct world_victim v = { 0 };
	int r = world_create(cell, &opts, &world);

	if (!r)
		r = world_pause(&world);
	if (!r)
		r = world_pick(&world, TF_WORK_COMMON, &v);
	if (!r)
		r = check(&world, &v, 0);
	if (!r)
		r = world_lose(&world, &v, LOSE_DEFERRED);
	if (!r)
		r = world_early(&world);
	if (!r)
		r = check(&world, &v, v.pa);
	if (!r)
		r = world_resume(&world);
	if (!r)
		world_finish(&world);
	say(cell->row, what);
}

static void across(struct cell *cell)
{
	run(cell, 1, "healed from the other node");
}

static void within(struct cell *cell)
{
	run(cell, 0, "every page from its own node");
}

#define NEEDS                                                                  \
	(CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) | CAP(MERGE) |  \
	 CAP(TWO_NODES))

const struct drill_case drill_vmm_nodes_across = {
	.name = "vmm-nodes-across",
	.fault = "two nodes, a copy on each, one is lost",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 2 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 90,
	.twinfold = across,
	.baseline = across,
};

const struct drill_case drill_vmm_nodes_within = {
	.name = "vmm-nodes-within",
	.fault = "two nodes, merge_across_nodes 0, a copy is lost",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 2 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 90,
	.twinfold = within,
	.baseline = within,
};
