/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fence: the short window in which a frame cannot be read or written by
 * anyone but the engine. Its page is moved to the staging area and leaves a
 * hole in memory registered for missing faults, so that whoever touches it
 * sleeps until the fence opens.
 *
 * What a page that somebody holds for I/O (FOLL_PIN), or shares with a forked
 * child, does: it refuses to be moved. What a hole does to a page that is
 * not the engine's: nothing, because only armed blocks are fenced, and an
 * armed block has no holes but the fence's (others are served at once).
 *
 * The engine's lock is held from tf_fence_close() to tf_fence_open().
 */
#ifndef TF_ENGINE_FENCE_H
#define TF_ENGINE_FENCE_H

#include <stdbool.h>

#include "engine/frame.h"

/* Pages that can be behind the fence at once. */
#define TF_STAGE_PAGES 256u

struct tf_engine;
struct tf_region;

int tf_fence_init(struct tf_engine *e);
void tf_fence_fini(struct tf_engine *e);

/*
 * Make a block ready for fences, for good: registered for missing faults, and
 * its holes filled with the zero page. Caller holds the lock.
 */
int tf_fence_arm(struct tf_block *b);

/* Fill the holes of [addr, end) with the zero page. Best effort. */
void tf_plug_holes(struct tf_engine *e, char *addr, char *end);

/*
 * Move `n` adjacent pages out, to staging page `stage` and on. The number of
 * pages moved, or the error of the first: -EBUSY pinned or forked, -ENOENT a
 * hole, others as the kernel says.
 */
long tf_fence_close(struct tf_engine *e, char *addr, unsigned n,
		    unsigned stage);

/*
 * Put `n` staged pages back. Never loses one that can be read: if the home
 * address has lost its mapping or cannot take the page, a copy is placed.
 * A page that cannot be read becomes poison at its home address, before
 * anyone can touch it. `uffd` is the context the home is registered with. The
 * number of pages that ended as poison.
 */
unsigned tf_fence_put_back(struct tf_region *r, int uffd, char *addr,
			   unsigned n, unsigned stage);

/* The same for pages at `staged` that are nobody's, but not in the staging
 * area. A hole there counts as a page of zeros. */
unsigned tf_fence_put_from(struct tf_region *r, int uffd, char *addr,
			   unsigned n, char *staged);

/* Move `n` adjacent pages to a place of context `uffd`, as far as they go in
 * order; how many. */
unsigned tf_fence_shift(const struct tf_engine *e, int uffd, char *to,
			char *from, unsigned n);

/* Wake whoever touched [addr, end) meanwhile. */
void tf_fence_open(struct tf_engine *e, char *addr, char *end);

/* Free what is left in staging pages [0, n). Needs no lock but pass_lock. */
void tf_fence_sweep(struct tf_engine *e, unsigned n);

static inline char *tf_stage(char *staging, unsigned page)
{
	return staging + page * TF_PAGE;
}

#endif
