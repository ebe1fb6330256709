/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A region is a registered memslot: where guest RAM is mapped, what its
 * mapping looked like when it was registered, and its frame table.
 */
#ifndef TF_ENGINE_REGION_H
#define TF_ENGINE_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/attrs.h"
#include "engine/base/list.h"
#include "engine/frame.h"

struct tf_guest;
struct tf_store;

/* Pages to be put over frames one by one; see spare.h. */
struct tf_spare {
	char *base;    /* NULL: none yet */
	unsigned next; /* pages below were used */
};

struct tf_region {
	struct tf_list link; /* guest->regions */
	struct tf_guest *guest;
	struct tf_engine *engine;
	struct tf_store *store;
	uint32_t slot;
	uint64_t gpa;
	char *start; /* first byte; not always 2 MiB aligned */
	char *end;
	char *origin;          /* start, rounded down to 2 MiB: block 0 */
	uint64_t linear;       /* linear index of origin's page */
	struct tf_attrs attrs; /* of the mapping, to be applied again */
	struct tf_spare spare;

	/* Protected by engine->lock. */
	unsigned users;       /* a pass is inside; del_memslot waits */
	bool dying;           /* no pass may enter */
	struct tf_dir **dirs; /* entries published with release */
	uint32_t ndirs;
	uint32_t nblocks; /* allocated */
	uint64_t seen;    /* frames not NONE */
	uint64_t shared, zero, cow;
	uint64_t bridged; /* of the shared ones */
};

static inline uint32_t tf_region_blocks(const struct tf_region *r)
{
	size_t bytes = (size_t)(r->end - r->origin);

	return (uint32_t)((bytes + TF_BLOCK_BYTES - 1) / TF_BLOCK_BYTES);
}

static inline uint32_t tf_region_block_of(const struct tf_region *r,
					  const char *addr)
{
	return (uint32_t)((size_t)(addr - r->origin) / TF_BLOCK_BYTES);
}

static inline unsigned tf_region_page_of(const struct tf_region *r,
					 const char *addr)
{
	return (unsigned)((size_t)(addr - r->origin) / TF_PAGE) &
	       (TF_BLOCK_PAGES - 1);
}

/* The part of block `no` that lies inside the region. */
static inline char *tf_region_block_start(const struct tf_region *r,
					  uint32_t no)
{
	char *p = r->origin + no * TF_BLOCK_BYTES;

	return p < r->start ? r->start : p;
}

static inline char *tf_region_block_end(const struct tf_region *r, uint32_t no)
{
	char *p = r->origin + (no + 1ul) * TF_BLOCK_BYTES;

	return p > r->end ? r->end : p;
}

static inline uint64_t tf_region_gpa(const struct tf_region *r,
				     const char *addr)
{
	return r->gpa + (uint64_t)(addr - r->start);
}

/* The region that maps `addr`, or NULL. Caller holds the lock. */
struct tf_region *tf_region_at(const struct tf_engine *e, const char *addr);

/* The first region that starts above `addr` (NULL: the first one of all). */
struct tf_region *tf_region_above(const struct tf_engine *e, const char *addr);

/* Put into, take out of the engine's table of regions. Caller holds the lock.
 * -ENOMEM, or -EINVAL if it overlaps one. */
int tf_region_insert(struct tf_engine *e, struct tf_region *r);
void tf_region_remove(struct tf_engine *e, struct tf_region *r);

#endif
