/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pass: regions by address, segments of a region, blocks of a segment.
 * Holds pass_lock throughout and the engine's lock only where it says so; a
 * region that it is inside cannot be deleted, only marked as dying, and is
 * left at the next stop point.
 */
#include "engine/pass.h"

#include <errno.h>

#include "engine/base/cleanup.h"
#include "engine/bridge.h"
#include "engine/budget.h"
#include "engine/copy.h"
#include "engine/forks.h"
#include "engine/locked.h"
#include "engine/scatter.h"
#include "engine/settle.h"
#include "engine/state.h"
#include "engine/store.h"
#include "engine/walker.h"

/* Blocks looked through for quiet ones in one hold of the lock. */
#define LOOK_AHEAD 1024u

struct pass {
	struct tf_engine *e;
	struct tf_region *r; /* entered */
	struct tf_pass out;
	bool background;
	uint64_t cow; /* pages that the kernel had copied when last seen */
	bool copies;  /* and there are more now */
};

static bool cancelled(const struct pass *p)
{
	return atomic_load(&p->e->cancels) ||
	       (p->background && atomic_load(&p->e->worker.stop));
}

/* What this host, or what was lost, or the process's own mlockall() allows. */
static bool may_merge(const struct tf_engine *e)
{
	return e->can_merge && !atomic_load(&e->degraded) &&
	       !atomic_load(&e->locked);
}

static bool must_stop(const struct pass *p)
{
	return cancelled(p) || atomic_load(&p->e->locked) ||
	       __atomic_load_n(&p->r->dying, __ATOMIC_ACQUIRE);
}

/* Enter the region after `above`, so that it cannot go away. */
static bool region_enter_next(struct pass *p, const char *above)
{
	struct tf_engine *e = p->e;
	TF_LOCKED(&e->lock);

	do {
		p->r = tf_region_above(e, above);
		above = p->r ? p->r->start : NULL;
	} while (p->r && p->r->dying);
	if (p->r)
		p->r->users++;
	return p->r;
}

static void region_leave(struct pass *p)
{
	TF_LOCKED(&p->e->lock);

	if (--p->r->users == 0)
		pthread_cond_broadcast(&p->e->left);
}

static bool has_work(const struct tf_block *b)
{
	return b->nshared || !tf_bits_empty(&b->written) ||
	       !tf_bits_empty(&b->pending) || tf_gather_due(b) ||
	       tf_scatter_due(b) ||
	       (b->nrefused && b->region->engine->retry_refused);
}

/* The next block from `no` on that ends by `to` and is to be visited. After a
 * while any block will do, so that the lock is not held for long. */
static struct tf_block *next_visit(struct pass *p, uint64_t no, const char *to)
{
	const struct tf_region *r = p->r;
	struct tf_block *b;
	TF_LOCKED(&p->e->lock);

	p->copies |= p->e->n.cow > p->cow;
	p->cow = p->e->n.cow;
	for (unsigned i = 0; (b = tf_block_next(r, no)); no = b->no + 1ul) {
		if (tf_region_block_end(r, b->no) > to)
			return NULL;
		if (has_work(b) || ++i == LOOK_AHEAD)
			return b;
	}
	return NULL;
}

/* Merged pages that the kernel copies at once are how mlockall() shows. */
static bool locked_now(struct pass *p)
{
	bool look = p->copies;

	p->copies = false;
	return look && tf_locked_look(p->e);
}

static void visit_blocks(struct pass *p, char *from, const char *to)
{
	uint64_t no = tf_region_block_of(p->r, from);
	struct tf_block *b;

	while (!must_stop(p) && (b = next_visit(p, no, to))) {
		if (locked_now(p))
			return;
		tf_settle_block(p->e->batch, b);
		no = b->no + 1ul;
	}
}

/* Walk [from, to), both at block borders or the region's ends. */
static int segment_scan(struct pass *p, char *from, char *to)
{
	char *visited = from, *reached = from;

	while (reached < to && !must_stop(p)) {
		long pages = tf_walk(p->r, reached, to, &reached);

		if (pages < 0)
			return (int)pages;
		p->out.pages_scanned += (uint64_t)pages;
		/* A block that the walk stopped in is visited next time. */
		visit_blocks(p, visited, reached);
		if (reached < to)
			visited = tf_region_block_start(
				p->r, tf_region_block_of(p->r, reached));
	}
	return 0;
}

/* Where the next run of blocks that are to be looked at ends. */
static char *segment_end(struct pass *p, char *from, bool *quiet)
{
	struct tf_region *r = p->r;
	uint32_t no = tf_region_block_of(r, from);
	struct tf_block *b;
	TF_LOCKED(&p->e->lock);

	b = tf_block_next(r, no);
	*quiet = b && b->no == no && (b->skip || b->ksm);
	if (*quiet) {
		b->skip -= b->skip != 0;
		return tf_region_block_end(r, no);
	}
	for (unsigned i = 0; b && !b->skip && !b->ksm; i++) {
		if (i == LOOK_AHEAD)
			return tf_region_block_start(r, b->no);
		b = tf_block_next(r, b->no + 1ul);
	}
	return b ? tf_region_block_start(r, b->no) : r->end;
}

static int region_scan(struct pass *p)
{
	char *at = p->r->start;

	while (at < p->r->end && !must_stop(p)) {
		bool quiet;
		char *end = segment_end(p, at, &quiet);
		int err = quiet ? 0 : segment_scan(p, at, end);

		if (err)
			return err;
		at = end;
	}
	return 0;
}

static void pass_begin(struct pass *p)
{
	struct tf_engine *e = p->e;
	TF_LOCKED(&e->lock);

	e->pass_no++;
	p->cow = e->n.cow;
	tf_budget_refresh(e, false);
	e->retry_refused = e->n.refused && tf_budget_has_room(e);
	tf_scatter_begin(e);
	tf_forks_reap(e);
	tf_bridge_forget(e);
}

static bool stops(const void *pass)
{
	return cancelled(pass);
}

static void pass_end(struct pass *p, bool complete)
{
	struct tf_engine *e = p->e;
	struct tf_store *s;
	TF_LOCKED(&e->lock);

	tf_copy_sweep(e, stops, p);
	tf_list_for_each(s, &e->stores, link)
		tf_store_flush(s);
	e->n.scanned += p->out.pages_scanned;
	e->n.hashed += p->out.pages_hashed;
	e->n.full_scans += complete;
	p->out.complete = complete;
}

int tf_pass_run(struct tf_engine *e, bool background, struct tf_pass *ret)
{
	struct pass p = { .e = e, .background = background };
	uint64_t begin = e->os->now_ns(e->os);
	const char *above = NULL;
	bool stopped = false;
	int err = 0;
	TF_LOCKED(&e->pass_lock);

	e->batch->pass = &p.out;
	if (e->can_merge)
		tf_locked_refresh(e);
	pass_begin(&p);
	while (may_merge(e) && !stopped && region_enter_next(&p, above)) {
		int failed = region_scan(&p);

		if (failed && !err)
			err = failed;
		stopped = cancelled(&p);
		above = p.r->start;
		region_leave(&p);
	}
	pass_end(&p, !stopped && !err && !atomic_load(&e->locked));
	p.out.ns = e->os->now_ns(e->os) - begin;
	if (ret)
		*ret = p.out;
	if (err)
		return err;
	return stopped ? -ECANCELED : 0;
}
