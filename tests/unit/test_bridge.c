/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bridges: unique pages in a gap between two promoted ones share the store's
 * mapping with them. When they are made, and what they cost.
 */
#include "engine/breaks.h"
#include "engine/chain.h"
#include "lib/unit_road.h"

static uint32_t slot_of(struct road *r, unsigned i)
{
	assert_int_equal(unit_state(&r->u, road_page(r, i)), TF_FRAME_SHARED);
	return unit_dup(&r->u, road_page(r, i)).slot;
}

static void a_gap_is_bridged(void **state)
{
	struct tf_stats s;
	struct road r;

	(void)state;
	road_build(&r, 1);
	for (unsigned i = 0; i < r.pages; i++) {
		assert_int_equal(road_is_bridge(&r, i), road_is_unique(&r, i));
		assert_int_equal(slot_of(&r, i), slot_of(&r, 0) + i);
	}
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 1);
	assert_int_equal(road_maps(&r), 1);
	s = unit_stats(&r.u);
	assert_int_equal(s.pages_shared, ROAD_CONTENTS);
	assert_int_equal(s.pages_sharing, ROAD_CONTENTS);
	assert_int_equal(s.pages_recoverable, 0);
	assert_int_equal(s.pages_unshared, 0);
	assert_int_equal(unit_guest_stats(r.g).pages_merged, 2 * ROAD_CONTENTS);
	/* The first part lies in slots with gaps: a mapping for each page. */
	assert_int_equal(s.vmas, ROAD_CONTENTS + 1 + 1 + 1);
	road_close(&r);
}

static void a_pass_says_what_it_bridged(void **state)
{
	struct tf_pass p;
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	unit_pass(&r.u);
	p = unit_pass(&r.u);
	assert_int_equal(p.bridged, ROAD_CONTENTS - 1);
	assert_int_equal(p.merged, 2 * ROAD_CONTENTS);
	assert_int_equal(p.promoted, ROAD_CONTENTS);
	assert_int_equal(p.changed + p.busy, 0);
	road_close(&r);
}

/* The page moves from the guest's memory to the store, and is freed there. */
static void a_bridge_takes_no_memory_of_its_own(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	unit_pass(&r.u);
	assert_true(unit_smaps(r.start, "Anonymous:") >= 4ul * r.pages);
	unit_pass(&r.u);
	assert_int_equal(unit_store_blocks(r.u.e), (2 * ROAD_CONTENTS - 1) * 8);
	assert_int_equal(unit_smaps(r.start, "Anonymous:"), 0);
	assert_int_equal(unit_smaps(r.u.e->staging, "Anonymous:"), 0);
	road_close(&r);
}

/* As when one alias of a healthy slot was lost. */
static void mapped_again_it_is_still_one(void **state)
{
	struct unit_spot s;
	struct road r;
	uint64_t before;

	(void)state;
	road_build(&r, 1);
	before = road_bridged(&r);
	assert_int_equal(before, ROAD_CONTENTS - 1);
	s = unit_spot(&r.u, road_page(&r, 1));
	pthread_mutex_lock(&r.u.e->lock);
	assert_int_equal(tf_dup_reserve(r.u.e, s.was.shared.dup), 0);
	assert_int_equal(tf_rehome(s.b, s.page, s.was.shared.dup), 0);
	pthread_mutex_unlock(&r.u.e->lock);
	unit_check(&r.u);
	assert_int_equal(road_bridged(&r), before);
	assert_true(road_is_bridge(&r, 1));
	unit_fill(road_page(&r, 1), ROAD_UNIQUE(1)); /* a write ends it */
	assert_int_equal(road_bridged(&r), before - 1);
	road_close(&r);
}

static void it_can_be_switched_off(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	r.u.opts.bridge_gaps = 0;
	road_open(&r);
	unit_passes(&r.u, 3);
	assert_int_equal(road_bridged(&r), 0);
	assert_int_equal(unit_stats(&r.u).pages_sharing, ROAD_CONTENTS);
	assert_int_equal(unit_stats(&r.u).pages_unshared, ROAD_CONTENTS - 1);
	assert_true(road_maps(&r) >= r.pages);
	road_close(&r);
}

/* Stores that other processes map hold no page of one guest alone. */
static void shared_stores_get_no_bridges(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	pthread_mutex_lock(&r.u.e->lock);
	assert_true(r.u.e->regions[0]->store->local);
	r.u.e->regions[0]->store->local = false;
	pthread_mutex_unlock(&r.u.e->lock);
	unit_passes(&r.u, 3);
	assert_int_equal(road_bridged(&r), 0);
	assert_int_equal(unit_stats(&r.u).pages_sharing, ROAD_CONTENTS);
	road_close(&r);
}

/* What two mappings are worth: some pages, not many. */
static void long_gaps_are_left(void **state)
{
	unsigned longest = 0;

	(void)state;
	for (unsigned gap = 1; gap <= 8; gap++) {
		struct road r;

		road_build(&r, gap);
		if (road_bridged(&r)) {
			assert_int_equal(longest, gap - 1);
			assert_int_equal(road_bridged(&r),
					 (ROAD_CONTENTS - 1) * gap);
			assert_int_equal(road_maps(&r), 1);
			longest = gap;
		}
		road_close(&r);
	}
	assert_in_range(longest, 2, 7);
}

/* More pairs than a fence takes, and a block's border. */
static void a_long_road_is_one_mapping(void **state)
{
	const unsigned n = 600;
	struct unit u;
	char *ram, *at;

	(void)state;
	unit_simple(&u, 4 * n, &ram);
	at = ram + 2 * n * TF_PAGE;
	unit_fill_run(ram, n, 1);
	for (unsigned i = 0; i < 2 * n; i++)
		unit_fill(at + i * TF_PAGE, i % 2 ? ROAD_UNIQUE(i) : 1 + i / 2);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).pages_sharing, n);
	assert_true(unit_stats(&u).pages_bridged >= n - 6);
	/* A block that ends with a unique page: one on each side. */
	assert_in_range(gather_maps_inside(at, (2 * n - 1) * TF_PAGE), 1, 9);
	for (unsigned i = 0; i < 2 * n; i++)
		unit_assert_page(at + i * TF_PAGE,
				 i % 2 ? ROAD_UNIQUE(i) : 1 + i / 2);
	unit_close(&u);
}

/* It has no sharers that a second copy would be for. */
static void second_copies_are_not_of_bridges(void **state)
{
	struct tf_stats s;
	struct road r;

	(void)state;
	road_init(&r, 1);
	r.u.opts.min_copies = 2;
	r.u.opts.copy_sharers = 2;
	road_open(&r);
	unit_passes(&r.u, 4);
	s = unit_stats(&r.u);
	assert_int_equal(s.chain_dups, ROAD_CONTENTS);
	assert_int_equal(s.pages_recoverable, 2 * ROAD_CONTENTS);
	assert_true(road_bridged(&r) > 0);
	assert_int_equal(s.chains, ROAD_CONTENTS + road_bridged(&r));
	road_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gap_is_bridged),
		cmocka_unit_test(a_pass_says_what_it_bridged),
		cmocka_unit_test(a_bridge_takes_no_memory_of_its_own),
		cmocka_unit_test(mapped_again_it_is_still_one),
		cmocka_unit_test(it_can_be_switched_off),
		cmocka_unit_test(shared_stores_get_no_bridges),
		cmocka_unit_test(long_gaps_are_left),
		cmocka_unit_test(a_long_road_is_one_mapping),
		cmocka_unit_test(second_copies_are_not_of_bridges),
	};

	return unit_run(tests);
}
