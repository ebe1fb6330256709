/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of bridges: a twin is found, the page is written, un-merged or
 * discarded, or its memslot goes. A guest that writes to them gets fewer.
 */
#include "engine/profit.h"
#include "lib/unit_road.h"

static void a_twin_makes_an_ordinary_copy_of_it(void **state)
{
	struct tf_stats s;
	struct road r;
	char *twin;

	(void)state;
	road_build(&r, 1);
	twin = road_page(&r, r.pages);
	unit_fill(twin, ROAD_UNIQUE(3));
	unit_passes(&r.u, 2);
	assert_int_equal(unit_state(&r.u, twin), TF_FRAME_SHARED);
	assert_false(road_is_bridge(&r, 3));
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 2);
	s = unit_stats(&r.u);
	assert_int_equal(s.pages_shared, ROAD_CONTENTS + 1);
	assert_int_equal(s.pages_sharing, ROAD_CONTENTS + 1);
	assert_int_equal(unit_guest_stats(r.g).pages_merged,
			 2 * ROAD_CONTENTS + 2);
	unit_assert_page(twin, ROAD_UNIQUE(3));
	/* KSM as well counts the last sharer of a page as shared. */
	unit_fill(twin, 5000);
	unit_check(&r.u);
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 2);
	assert_int_equal(unit_stats(&r.u).pages_shared, ROAD_CONTENTS + 1);
	road_close(&r);
}

/* Twins of one fence: the second waits for the first. */
static void twins_in_one_visit_share(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	unit_fill(road_page(&r, r.pages), ROAD_UNIQUE(1));
	unit_fill(road_page(&r, r.pages + 1), ROAD_UNIQUE(3));
	unit_passes(&r.u, 2);
	assert_int_equal(unit_stats(&r.u).pages_sharing, ROAD_CONTENTS + 2);
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 3);
	unit_assert_page(road_page(&r, r.pages), ROAD_UNIQUE(1));
	unit_assert_page(road_page(&r, r.pages + 1), ROAD_UNIQUE(3));
	road_close(&r);
}

static void a_write_breaks_it(void **state)
{
	struct road r;
	uint64_t blocks;

	(void)state;
	road_build(&r, 1);
	blocks = unit_store_blocks(r.u.e);
	road_page(&r, 3)[77] ^= 1;
	unit_check(&r.u);
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 2);
	assert_int_equal(unit_breaks(&r.u), 1);
	unit_assert_fresh(&r.u, road_page(&r, 3));
	road_page(&r, 3)[77] ^= 1;
	unit_assert_page(road_page(&r, 3), ROAD_UNIQUE(3));
	assert_int_equal(unit_smaps(road_page(&r, 3), "Anonymous:"), 4);
	unit_passes(&r.u, 5);
	/* Nobody sees its slot any more. */
	assert_int_equal(unit_store_blocks(r.u.e), blocks - 8);
	assert_int_equal(unit_state(&r.u, road_page(&r, 3)),
			 TF_FRAME_CANDIDATE);
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 2);
	assert_int_equal(unit_stats(&r.u).pages_sharing, ROAD_CONTENTS);
	road_close(&r);
}

static void unmerging_takes_it_back(void **state)
{
	struct road r;

	(void)state;
	road_build(&r, 2);
	assert_true(road_bridged(&r) > 0);
	assert_int_equal(tf_guest_unmerge(r.g, 0, 4096 * TF_PAGE), 0);
	unit_check(&r.u);
	assert_int_equal(road_bridged(&r), 0);
	assert_int_equal(unit_stats(&r.u).chains, 0);
	assert_in_range(gather_maps_inside(
				r.ram, (ROAD_CONTENTS + 1 + r.pages) * TF_PAGE),
			1, 2);
	road_close(&r);
}

static void a_discarded_one_is_zeros(void **state)
{
	struct road r;
	uint64_t gpa;

	(void)state;
	road_build(&r, 1);
	gpa = (uint64_t)(road_page(&r, 3) - r.ram);
	assert_int_equal(tf_guest_discard(r.g, gpa, TF_PAGE), 0);
	unit_check(&r.u);
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 2);
	unit_assert_page(road_page(&r, 3), 0);
	unit_fill(road_page(&r, 3), ROAD_UNIQUE(3));
	road_close(&r);
}

static void a_deleted_memslot_leaves_none(void **state)
{
	struct road r;

	(void)state;
	road_build(&r, 1);
	assert_int_equal(tf_guest_del_memslot(r.g, 0), 0);
	unit_check(&r.u);
	assert_int_equal(unit_stats(&r.u).pages_bridged, 0);
	assert_int_equal(unit_stats(&r.u).chains, 0);
	road_close(&r);
}

/* The resolver counts them as well. */
static struct tf_bridges past_of(struct road *r)
{
	struct tf_bridges past;

	pthread_mutex_lock(&r->u.e->lock);
	past = r->g->bridges;
	pthread_mutex_unlock(&r->u.e->lock);
	return past;
}

/* A guest that writes to its bridges gets no more of them, for a while. */
static void broken_bridges_are_not_forgotten_at_once(void **state)
{
	struct tf_bridges past;
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	pthread_mutex_lock(&r.u.e->lock);
	r.g->bridges = (struct tf_bridges){ .made = 1000, .broke = 100 };
	pthread_mutex_unlock(&r.u.e->lock);
	unit_passes(&r.u, 3);
	assert_int_equal(road_bridged(&r), 0);
	assert_int_equal(unit_stats(&r.u).pages_sharing, ROAD_CONTENTS);
	unit_passes(&r.u, 400);
	past = past_of(&r);
	assert_true(tf_profit_bridge(&past, 1));
	road_close(&r);
}

static void what_becomes_of_bridges_is_counted(void **state)
{
	struct road r;

	(void)state;
	road_build(&r, 1);
	assert_int_equal(past_of(&r).made, ROAD_CONTENTS - 1);
	assert_int_equal(past_of(&r).broke, 0);
	unit_fill(road_page(&r, 5), road_content(&r, 5));
	unit_fill(road_page(&r, 2), road_content(&r, 2)); /* no bridge */
	assert_int_equal(past_of(&r).broke, 1);
	unit_fill(road_page(&r, 5), road_content(&r, 5)); /* broken already */
	assert_int_equal(past_of(&r).broke, 1);
	road_close(&r);
}

/* Merge all, write all, settle, un-merge all: no mapping is left over. */
static void mappings_are_as_before_in_the_end(void **state)
{
	const unsigned n = 200;
	struct tf_guest *g;
	unsigned before;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, 3 * n, &ram);
	unit_fill_run(ram, n, 1);
	for (unsigned i = 0; i < 2 * n; i++)
		unit_fill(ram + (n + i) * TF_PAGE,
			  i % 2 ? ROAD_UNIQUE(i) : 1 + i / 2);
	before = gather_maps_inside(ram, 3 * n * TF_PAGE);
	unit_passes(&u, 3);
	assert_true(unit_stats(&u).pages_bridged > n / 2);
	gather_write_all(ram, 3 * n);
	assert_int_equal(unit_stats(&u).pages_bridged, 0);
	unit_passes(&u, 20);
	assert_int_equal(tf_guest_unmerge(g, 0, 3 * n * TF_PAGE), 0);
	assert_in_range(gather_maps_inside(ram, 3 * n * TF_PAGE), before,
			before + 1);
	unit_assert_run(ram, 3 * n, GATHER_FRESH(0));
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_twin_makes_an_ordinary_copy_of_it),
		cmocka_unit_test(twins_in_one_visit_share),
		cmocka_unit_test(a_write_breaks_it),
		cmocka_unit_test(unmerging_takes_it_back),
		cmocka_unit_test(a_discarded_one_is_zeros),
		cmocka_unit_test(a_deleted_memslot_leaves_none),
		cmocka_unit_test(broken_bridges_are_not_forgotten_at_once),
		cmocka_unit_test(what_becomes_of_bridges_is_counted),
		cmocka_unit_test(mappings_are_as_before_in_the_end),
	};

	return unit_run(tests);
}
