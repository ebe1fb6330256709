/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pins: they nest, keep pages private, and say what they cannot do. */
#include <errno.h>
#include <sys/mman.h>

#include "engine/pins.h"
#include "lib/unit_world.h"

#define PAGES 16u

static void the_registry_nests(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, PAGES, &ram);
	assert_false(tf_pinned_range(g, 0, PAGES * TF_PAGE));
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(tf_guest_pin(g, TF_PAGE, 2 * TF_PAGE), 0);
	assert_true(tf_pinned_range(g, 2 * TF_PAGE, TF_PAGE));
	assert_false(tf_pinned_range(g, 0, TF_PAGE));
	assert_false(tf_pinned_range(g, 3 * TF_PAGE, TF_PAGE));
	for (unsigned i = 0; i < 40; i++) {
		assert_true(tf_pinned_range(g, 0, PAGES * TF_PAGE));
		assert_int_equal(tf_guest_unpin(g, TF_PAGE, 2 * TF_PAGE), 0);
	}
	assert_false(tf_pinned_range(g, 0, PAGES * TF_PAGE));
	assert_int_equal(tf_guest_unpin(g, TF_PAGE, 2 * TF_PAGE), -ENOENT);
	unit_close(&u);
}

static void wrong_ranges_are_refused(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, PAGES, &ram);
	assert_int_equal(tf_guest_pin(g, 1, TF_PAGE), -EINVAL);
	assert_int_equal(tf_guest_pin(g, 0, 100), -EINVAL);
	assert_int_equal(tf_guest_pin(g, 0, 0), -EINVAL);
	assert_int_equal(tf_guest_pin(g, -TF_PAGE, 2 * TF_PAGE), -EINVAL);
	assert_int_equal(tf_guest_pin(g, 0, (PAGES + 1) * TF_PAGE), -ENOENT);
	assert_int_equal(tf_guest_pin(g, PAGES * TF_PAGE, TF_PAGE), -ENOENT);
	assert_int_equal(tf_guest_unpin(g, 1, TF_PAGE), -EINVAL);
	assert_int_equal(tf_guest_pin(g, 0, 2 * TF_PAGE), 0);
	assert_int_equal(tf_guest_unpin(g, 0, TF_PAGE), -ENOENT);
	assert_int_equal(tf_guest_unpin(g, 0, 2 * TF_PAGE), 0);
	unit_close(&u);
}

static void pinned_pages_stay_where_they_are(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, PAGES, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	unit_fill(ram + TF_PAGE, 0);
	assert_int_equal(tf_guest_pin(g, 0, 2 * TF_PAGE), 0);
	unit_passes(&u, 4);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_NEW);
	assert_int_equal(unit_state(&u, ram + TF_PAGE), TF_FRAME_NEW);
	/* Its twins do not wait for it. */
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES - 2);
	assert_int_equal(unit_stats(&u).fence_busy, 0);
	assert_int_equal(tf_guest_unpin(g, 0, 2 * TF_PAGE), 0);
	unit_passes(&u, 10);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES - 1);
	assert_int_equal(unit_stats(&u).zero_pages, 1);
	unit_close(&u);
}

/* A candidate may be pinned after it settled: others take its place. */
static void a_pinned_candidate_is_not_fenced(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	assert_int_equal(tf_guest_pin(g, 0, TF_PAGE), 0);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).pages_shared, 0);
	assert_int_equal(unit_state(&u, ram + TF_PAGE), TF_FRAME_CANDIDATE);
	unit_assert_fresh(&u, ram);
	assert_int_equal(tf_guest_unpin(g, 0, TF_PAGE), 0);
	unit_passes(&u, 10);
	assert_int_equal(unit_stats(&u).pages_sharing, 1);
	unit_close(&u);
}

static int remap_fails(const struct tf_os *os, void *from, size_t len, void *to)
{
	(void)os;
	(void)from;
	(void)len;
	(void)to;
	return -ENOMEM;
}

static void a_pin_that_fails_pins_nothing(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	assert_int_equal(tf_guest_pin(g, 0, TF_PAGE), -ENOMEM);
	assert_false(tf_pinned_range(g, 0, PAGES * TF_PAGE));
	unit_assert_page(ram, 1);
	unit_wrap(&u, remap_over, tf_os_linux.remap_over);
	assert_int_equal(tf_guest_pin(g, 0, TF_PAGE), 0);
	unit_assert_fresh(&u, ram);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_registry_nests),
		cmocka_unit_test(wrong_ranges_are_refused),
		cmocka_unit_test(pinned_pages_stay_where_they_are),
		cmocka_unit_test(a_pinned_candidate_is_not_fenced),
		cmocka_unit_test(a_pin_that_fails_pins_nothing),
	};

	return unit_run(tests);
}
