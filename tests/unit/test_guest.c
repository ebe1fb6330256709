/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests and memslots: they come and go, and wrong numbers and conflicts are
 * refused, with which errno, and with words in the log.
 */
#include <errno.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define PAGES 16u
#define BYTES (PAGES * TF_PAGE)

static void wrong_numbers_are_refused(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_empty(&u);
	ram = unit_ram(&u, BYTES);
	unit_assert_refused(&u, g, 0, 1, ram, BYTES, -EINVAL,
			    "multiples of 4096");
	unit_assert_refused(&u, g, 0, 0, ram + 8, BYTES, -EINVAL,
			    "multiples of 4096");
	unit_assert_refused(&u, g, 0, 0, ram, 100, -EINVAL,
			    "multiples of 4096");
	unit_assert_refused(&u, g, 0, 0, ram, 0, -EINVAL, "not empty");
	unit_assert_refused(&u, g, 0, -TF_PAGE, ram, BYTES, -EINVAL, "wraps");
	unit_assert_refused(&u, g, 0, 0, (void *)-TF_PAGE, BYTES, -EINVAL,
			    "wraps");
	unit_close(&u);
}

static void conflicts_are_refused(void **state)
{
	struct tf_guest *g, *h;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_empty(&u);
	h = unit_guest(&u, NULL);
	ram = unit_ram(&u, 4 * BYTES);
	unit_slot(g, 5, BYTES, ram + BYTES, BYTES);
	unit_assert_refused(&u, g, 5, 8 * BYTES, ram, BYTES, -EEXIST,
			    "is taken");
	unit_assert_refused(&u, g, 6, BYTES, ram, BYTES, -EINVAL,
			    "overlaps memslot 5");
	unit_assert_refused(&u, g, 6, 2 * BYTES - TF_PAGE, ram, BYTES, -EINVAL,
			    "in guest memory");
	unit_assert_refused(&u, g, 6, 8 * BYTES, ram, BYTES + TF_PAGE, -EINVAL,
			    "in host memory");
	unit_assert_refused(&u, h, 0, 0, ram + BYTES, BYTES, -EINVAL,
			    "in host memory");
	unit_assert_refused(&u, h, 0, 0, ram + 2 * BYTES - TF_PAGE, BYTES,
			    -EINVAL, "in host memory");
	/* Another guest has its own numbers and addresses. */
	unit_slot(h, 5, BYTES, ram, BYTES);
	unit_slot(g, 6, 2 * BYTES, ram + 2 * BYTES, BYTES);
	unit_close(&u);
}

/* The same while the overlapped memory is merged, in many mappings. */
static void merged_memory_overlaps_too(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_assert_refused(&u, g, 1, 8 * BYTES, ram + TF_PAGE, TF_PAGE,
			    -EINVAL, "in host memory");
	unit_close(&u);
}

static void mixed_memory_is_two_memslots(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_empty(&u);
	ram = unit_ram(&u, BYTES);
	assert_int_equal(madvise(ram, 4 * TF_PAGE, MADV_DONTFORK), 0);
	unit_assert_refused(&u, g, 0, 0, ram, BYTES, -EOPNOTSUPP,
			    "memslot of its own");
	unit_slot(g, 0, 0, ram, 4 * TF_PAGE);
	unit_slot(g, 1, BYTES, ram + 4 * TF_PAGE, BYTES - 4 * TF_PAGE);
	unit_close(&u);
}

static void slots_come_and_go(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	g = unit_guest(&u, "d");
	ram = unit_ram(&u, 40 * TF_PAGE);
	assert_int_equal(tf_guest_del_memslot(g, 0), -ENOENT);
	for (uint32_t i = 0; i < 40; i++)
		unit_slot(g, i, i * TF_PAGE, ram + i * TF_PAGE, TF_PAGE);
	for (uint32_t i = 0; i < 40; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_guest_stats(g).pages_merged, 40);
	assert_int_equal(unit_guest_stats(g).bytes, 40 * TF_PAGE);
	for (uint32_t i = 0; i < 40; i += 2)
		assert_int_equal(tf_guest_del_memslot(g, i), 0);
	assert_int_equal(tf_guest_del_memslot(g, 0), -ENOENT);
	assert_int_equal(unit_guest_stats(g).memslots, 20);
	assert_int_equal(unit_guest_stats(g).pages_merged, 20);
	unit_check(&u);
	tf_guest_destroy(g);
	tf_guest_destroy(NULL);
	assert_int_equal(unit_stats(&u).pages_shared, 0);
	for (uint32_t i = 0; i < 40; i++)
		unit_assert_page(ram + i * TF_PAGE, 1);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_numbers_are_refused),
		cmocka_unit_test(conflicts_are_refused),
		cmocka_unit_test(merged_memory_overlaps_too),
		cmocka_unit_test(mixed_memory_is_two_memslots),
		cmocka_unit_test(slots_come_and_go),
	};

	return unit_run(tests);
}
