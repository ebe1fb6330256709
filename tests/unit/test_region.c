/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of regions: sorted by address, without overlap. */
#include "engine/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/unit_world.h"

static char *at(uintptr_t page)
{
	return (char *)(page * TF_PAGE);
}

static void init(struct tf_region *r, uintptr_t from, uintptr_t to)
{
	memset(r, 0, sizeof(*r));
	r->start = at(from);
	r->end = at(to);
}

static void regions_are_found_by_address(void **state)
{
	struct tf_engine e = { 0 };
	struct tf_region r[3];

	(void)state;
	init(&r[0], 300, 400);
	init(&r[1], 100, 200);
	init(&r[2], 200, 300);
	assert_null(tf_region_at(&e, at(1)));
	assert_null(tf_region_above(&e, NULL));
	for (int i = 0; i < 3; i++)
		assert_int_equal(tf_region_insert(&e, &r[i]), 0);
	assert_ptr_equal(tf_region_at(&e, at(100)), &r[1]);
	assert_ptr_equal(tf_region_at(&e, at(200) - 1), &r[1]);
	assert_ptr_equal(tf_region_at(&e, at(200)), &r[2]);
	assert_null(tf_region_at(&e, at(99)));
	assert_null(tf_region_at(&e, at(400)));
	assert_ptr_equal(tf_region_above(&e, NULL), &r[1]);
	assert_ptr_equal(tf_region_above(&e, r[1].start), &r[2]);
	assert_ptr_equal(tf_region_above(&e, at(250)), &r[0]);
	assert_null(tf_region_above(&e, r[0].start));
	tf_region_remove(&e, &r[2]);
	assert_null(tf_region_at(&e, at(250)));
	assert_ptr_equal(tf_region_above(&e, r[1].start), &r[0]);
	free(e.regions);
}

static void overlaps_are_refused(void **state)
{
	const uintptr_t bad[][2] = {
		{ 100, 200 }, { 50, 101 }, { 199, 300 },
		{ 120, 130 }, { 1, 1000 },
	};
	struct tf_engine e = { 0 };
	struct tf_region first, r;

	(void)state;
	init(&first, 100, 200);
	assert_int_equal(tf_region_insert(&e, &first), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		init(&r, bad[i][0], bad[i][1]);
		assert_int_equal(tf_region_insert(&e, &r), -EINVAL);
		assert_int_equal(e.nregions, 1);
	}
	free(e.regions);
}

static void the_table_grows(void **state)
{
	struct tf_engine e = { 0 };
	struct tf_region r[100];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		init(&r[i], 1000 - 10 * i, 1000 - 10 * i + 10);
		assert_int_equal(tf_region_insert(&e, &r[i]), 0);
	}
	for (unsigned i = 1; i < 100; i++)
		assert_true(e.regions[i - 1]->start < e.regions[i]->start);
	for (unsigned i = 0; i < 100; i++)
		tf_region_remove(&e, &r[i]);
	assert_int_equal(e.nregions, 0);
	free(e.regions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_are_found_by_address),
		cmocka_unit_test(overlaps_are_refused),
		cmocka_unit_test(the_table_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
