/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine's table of regions, sorted by address, so that a fault finds its
 * region by binary search. Owns the array, not the regions.
 */
#include "engine/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/state.h"

/* Index of the first region that ends above `addr`. */
static size_t first_ending_above(const struct tf_engine *e, const char *addr)
{
	size_t lo = 0, hi = e->nregions;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (e->regions[mid]->end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct tf_region *tf_region_at(const struct tf_engine *e, const char *addr)
{
	size_t i = first_ending_above(e, addr);

	if (i == e->nregions || e->regions[i]->start > addr)
		return NULL;
	return e->regions[i];
}

struct tf_region *tf_region_above(const struct tf_engine *e, const char *addr)
{
	for (size_t i = first_ending_above(e, addr); i < e->nregions; i++)
		if (e->regions[i]->start > addr)
			return e->regions[i];
	return NULL;
}

static int regions_grow(struct tf_engine *e)
{
	size_t cap = e->cap_regions ? 2 * e->cap_regions : 8;
	struct tf_region **more;

	if (e->nregions < e->cap_regions)
		return 0;
	more = realloc(e->regions, cap * sizeof(struct tf_region *));
	if (!more)
		return -ENOMEM;
	e->regions = more;
	e->cap_regions = cap;
	return 0;
}

int tf_region_insert(struct tf_engine *e, struct tf_region *r)
{
	size_t i = first_ending_above(e, r->start);
	int err;

	if (i < e->nregions && e->regions[i]->start < r->end)
		return -EINVAL;
	err = regions_grow(e);
	if (err)
		return err;
	memmove(&e->regions[i + 1], &e->regions[i],
		(e->nregions - i) * sizeof(struct tf_region *));
	e->regions[i] = r;
	e->nregions++;
	return 0;
}

void tf_region_remove(struct tf_engine *e, struct tf_region *r)
{
	size_t i = first_ending_above(e, r->start);

	e->nregions--;
	memmove(&e->regions[i], &e->regions[i + 1],
		(e->nregions - i) * sizeof(struct tf_region *));
}
