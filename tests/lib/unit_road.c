/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The road: filled, merged, and looked at. */
#include "lib/unit_road.h"

void road_init(struct road *r, unsigned gap)
{
	*r = (struct road){ .gap = gap };
	r->pages = ROAD_CONTENTS + (ROAD_CONTENTS - 1) * gap;
	unit_init(&r->u);
	r->u.opts.smart_scan = 0;
}

bool road_is_unique(const struct road *r, unsigned i)
{
	return i % (r->gap + 1) != 0;
}

uint64_t road_content(const struct road *r, unsigned i)
{
	return road_is_unique(r, i) ? ROAD_UNIQUE(i) : 1 + i / (r->gap + 1);
}

char *road_page(const struct road *r, unsigned i)
{
	return r->start + i * TF_PAGE;
}

/* A hole after the first part: the two never touch. */
void road_open(struct road *r)
{
	const unsigned all = ROAD_CONTENTS + 1 + r->pages + ROAD_CONTENTS;

	unit_open(&r->u);
	r->g = unit_guest(&r->u, NULL);
	r->ram = unit_ram(&r->u, all * TF_PAGE);
	r->start = r->ram + (ROAD_CONTENTS + 1) * TF_PAGE;
	unit_slot(r->g, 0, 0, r->ram, all * TF_PAGE);
	unit_fill_run(r->ram, ROAD_CONTENTS, 1);
	for (unsigned i = 0; i < r->pages; i++)
		unit_fill(road_page(r, i), road_content(r, i));
}

void road_build(struct road *r, unsigned gap)
{
	road_init(r, gap);
	road_open(r);
	unit_passes(&r->u, 2);
}

static void road_assert(const struct road *r)
{
	unit_assert_run(r->ram, ROAD_CONTENTS, 1);
	for (unsigned i = 0; i < r->pages; i++)
		unit_assert_page(road_page(r, i), road_content(r, i));
}

void road_close(struct road *r)
{
	road_assert(r);
	unit_close(&r->u);
}

bool road_is_bridge(struct road *r, unsigned i)
{
	return unit_dup(&r->u, road_page(r, i)).bridge;
}

uint64_t road_bridged(struct road *r)
{
	uint64_t n = unit_stats(&r->u).pages_bridged;

	assert_int_equal(unit_guest_stats(r->g).pages_bridged, n);
	return n;
}

unsigned road_maps(const struct road *r)
{
	return gather_maps_inside(r->start, r->pages * TF_PAGE);
}
