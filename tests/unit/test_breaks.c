/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariant 4: one case for each way out of the shared state. The entry then
 * equals that of a frame just seen, which waits a pass before it merges
 * again. (A half-done merge undone is in test_batch.c, what fails on the way
 * out in test_breaks_faults.c.)
 */

#include "lib/unit_world.h"

#define PAGES 16u
#define HALF (PAGES / 2)

static void by_a_write(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_fill(ram + TF_PAGE, 2);
	unit_assert_fresh(&u, ram + TF_PAGE);
	assert_int_equal(unit_stats(&u).breaks, 1);
	assert_int_equal(unit_guest_stats(g).breaks, 1);
	assert_int_equal(unit_stats(&u).pages_sharing, HALF - 1);
	assert_int_equal(unit_stats(&u).pages_shared, HALF);
	unit_assert_page(ram + (HALF + 1) * TF_PAGE, 2);
	unit_assert_waits_a_pass(&u, ram + TF_PAGE);
	assert_int_equal(unit_stats(&u).pages_sharing, HALF);
	unit_close(&u);
}

static void by_unmerge(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	assert_int_equal(tf_guest_unmerge(g, 2 * TF_PAGE, 3 * TF_PAGE), 0);
	for (unsigned i = 0; i < HALF; i++)
		if (i >= 2 && i < 5)
			unit_assert_fresh(&u, ram + i * TF_PAGE);
		else
			assert_int_equal(unit_state(&u, ram + i * TF_PAGE),
					 TF_FRAME_SHARED);
	assert_int_equal(unit_stats(&u).breaks, 0); /* nobody wrote */
	unit_assert_run(ram, HALF, 1);
	unit_assert_waits_a_pass(&u, ram + 2 * TF_PAGE);
	unit_close(&u);
}

/* All sharers of a dup leave: dup and slot go, and a new one is made. */
static void by_teardown_of_a_dup(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	assert_int_equal(tf_guest_unmerge(g, 0, PAGES * TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).chains, 0);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_fresh(&u, ram + i * TF_PAGE);
	unit_assert_waits_a_pass(&u, ram);
	assert_int_equal(unit_store_blocks(u.e), HALF * 8);
	unit_close(&u);
}

static void by_discard(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	assert_int_equal(tf_guest_discard(g, TF_PAGE, TF_PAGE), 0);
	assert_int_equal(unit_state(&u, ram + TF_PAGE), TF_FRAME_NONE);
	unit_assert_page(ram + TF_PAGE, 0);
	unit_check(&u);
	unit_fill(ram + TF_PAGE, 2);
	unit_pass(&u);
	unit_assert_fresh(&u, ram + TF_PAGE);
	unit_pass(&u);
	assert_int_equal(unit_state(&u, ram + TF_PAGE), TF_FRAME_SHARED);
	unit_assert_page(ram + TF_PAGE, 2);
	unit_close(&u);
}

static void by_pin(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	assert_int_equal(tf_guest_pin(g, TF_PAGE, TF_PAGE), 0);
	unit_assert_fresh(&u, ram + TF_PAGE);
	unit_passes(&u, 4);
	assert_int_equal(unit_state(&u, ram + TF_PAGE), TF_FRAME_NEW);
	assert_int_equal(tf_guest_unpin(g, TF_PAGE, TF_PAGE), 0);
	unit_fill(ram + TF_PAGE, 2);
	unit_assert_waits_a_pass(&u, ram + TF_PAGE);
	unit_close(&u);
}

static void by_removal_of_the_memslot(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_int_equal(unit_stats(&u).chains, 0);
	assert_int_equal(unit_stats(&u).vmas, 0);
	unit_assert_run(ram, HALF, 1);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	assert_int_equal(unit_pass(&u).merged, 0);
	unit_assert_fresh(&u, ram);
	assert_int_equal(unit_pass(&u).merged, PAGES);
	unit_close(&u);
}

static void by_the_end_of_its_guest(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	tf_guest_destroy(g);
	assert_int_equal(unit_stats(&u).chains, 0);
	assert_int_equal(unit_smaps(ram, "Shared_Clean:"), 0);
	unit_assert_run(ram, HALF, 1);
	unit_assert_run(ram + HALF * TF_PAGE, HALF, 1);
	unit_fill(ram, 9);
	unit_assert_page(ram + HALF * TF_PAGE, 1);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_a_write),
		cmocka_unit_test(by_unmerge),
		cmocka_unit_test(by_teardown_of_a_dup),
		cmocka_unit_test(by_discard),
		cmocka_unit_test(by_pin),
		cmocka_unit_test(by_removal_of_the_memslot),
		cmocka_unit_test(by_the_end_of_its_guest),
	};

	return unit_run(tests);
}
