/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unmerge and discard over memslots, holes and borders. */
#include <errno.h>

#include "lib/unit_world.h"

#define PAGES 16u
#define BYTES (PAGES * TF_PAGE)

/* Two memslots with a gap of one megabyte of gpa between them. */
#define SECOND 0x100000ul

static struct tf_guest *two_slots(struct unit *u, char **ram)
{
	struct tf_guest *g;

	unit_init(u);
	u->opts.smart_scan = 0;
	unit_open(u);
	g = unit_guest(u, NULL);
	*ram = unit_ram(u, 2 * BYTES);
	/* The higher gpa lies at the lower address. */
	unit_slot(g, 7, SECOND, *ram, BYTES);
	unit_slot(g, 3, 0, *ram + BYTES, BYTES);
	unit_fill_run(*ram, PAGES, 1);
	unit_fill_run(*ram + BYTES, PAGES, 1);
	unit_passes(u, 2);
	assert_int_equal(unit_guest_stats(g).pages_merged, 2 * PAGES);
	return g;
}

static void unmerge_spans_memslots_and_holes(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = two_slots(&u, &ram);
	assert_int_equal(tf_guest_unmerge(g, BYTES - TF_PAGE,
					  SECOND - BYTES + 2 * TF_PAGE),
			 0);
	assert_int_equal(unit_guest_stats(g).pages_merged, 2 * PAGES - 2);
	unit_assert_fresh(&u, ram + 2 * BYTES - TF_PAGE);
	unit_assert_fresh(&u, ram);
	assert_int_equal(tf_guest_unmerge(g, 0, SECOND + 100 * BYTES), 0);
	assert_int_equal(unit_guest_stats(g).pages_merged, 0);
	assert_int_equal(tf_guest_unmerge(g, 0, 0), 0);
	unit_assert_run(ram, PAGES, 1);
	unit_assert_run(ram + BYTES, PAGES, 1);
	unit_close(&u);
}

static void ranges_are_checked(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = two_slots(&u, &ram);
	assert_int_equal(tf_guest_unmerge(g, 5, TF_PAGE), -EINVAL);
	assert_int_equal(tf_guest_unmerge(g, 0, 5), -EINVAL);
	assert_int_equal(tf_guest_unmerge(g, -TF_PAGE, 2 * TF_PAGE), -EINVAL);
	assert_int_equal(tf_guest_discard(g, 5, TF_PAGE), -EINVAL);
	assert_int_equal(tf_guest_discard(g, -TF_PAGE, 2 * TF_PAGE), -EINVAL);
	assert_int_equal(tf_guest_discard(g, BYTES, TF_PAGE), -ENOENT);
	assert_int_equal(tf_guest_discard(g, 0, SECOND + BYTES), -ENOENT);
	assert_int_equal(unit_guest_stats(g).pages_merged, 2 * PAGES);
	unit_assert_run(ram, PAGES, 1);
	unit_close(&u);
}

static void discards_read_as_zeros(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = two_slots(&u, &ram);
	ram[5 * TF_PAGE]++; /* a private page among merged ones */
	assert_int_equal(tf_guest_discard(g, SECOND + 4 * TF_PAGE, 4 * TF_PAGE),
			 0);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i >= 4 && i < 8 ? 0 : 1 + i);
	unit_assert_run(ram + BYTES, PAGES, 1);
	assert_int_equal(unit_guest_stats(g).pages_seen, 2 * PAGES - 4);
	unit_check(&u);
	unit_passes(&u, 3);
	unit_fill_run(ram, PAGES, 50);
	unit_assert_run(ram, PAGES, 50);
	unit_assert_run(ram + BYTES, PAGES, 1);
	unit_close(&u);
}

static void pinned_pages_are_not_discarded(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = two_slots(&u, &ram);
	assert_int_equal(tf_guest_pin(g, 3 * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(tf_guest_discard(g, 0, BYTES), -EBUSY);
	unit_assert_run(ram + BYTES, PAGES, 1);
	assert_int_equal(tf_guest_discard(g, 0, 3 * TF_PAGE), 0);
	assert_int_equal(tf_guest_unpin(g, 3 * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(tf_guest_discard(g, 0, BYTES), 0);
	unit_assert_page(ram + BYTES + 3 * TF_PAGE, 0);
	unit_close(&u);
}

/* Memory that no pass has seen yet is dropped as well. */
static void unseen_memory_is_discarded_too(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_empty(&u);
	ram = unit_ram(&u, 3 * TF_BLOCK_BYTES);
	unit_slot(g, 0, 0, ram, 3 * TF_BLOCK_BYTES);
	unit_fill(ram + TF_BLOCK_BYTES, 1);
	unit_passes(&u, 2); /* a block in the middle */
	for (unsigned i = 0; i < 3; i++)
		unit_fill(ram + i * TF_BLOCK_BYTES, 7);
	assert_int_equal(tf_guest_discard(g, 0, 3 * TF_BLOCK_BYTES), 0);
	for (unsigned i = 0; i < 3; i++)
		unit_assert_page(ram + i * TF_BLOCK_BYTES, 0);
	unit_close(&u);
}

/* A range that ends inside the memslot it starts inside. */
static void ranges_may_lie_inside_one_memslot(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = two_slots(&u, &ram);
	assert_int_equal(tf_guest_unmerge(g, SECOND + 5 * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(unit_guest_stats(g).pages_merged, 2 * PAGES - 1);
	unit_assert_fresh(&u, ram + 5 * TF_PAGE);
	unit_close(&u);
}

static int advise_fails(const struct tf_os *os, void *addr, size_t len,
			int advice)
{
	(void)os;
	(void)addr;
	(void)len;
	(void)advice;
	return -ENOMEM;
}

static void failed_discards_are_reported(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_wrap(&u, advise, advise_fails);
	assert_int_equal(tf_guest_discard(g, 0, TF_PAGE), -ENOMEM);
	unit_passes(&u, 2);
	assert_int_equal(tf_guest_discard(g, 0, TF_PAGE), -ENOMEM);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	unit_assert_page(ram, 1);
	unit_wrap(&u, advise, tf_os_linux.advise);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unmerge_spans_memslots_and_holes),
		cmocka_unit_test(ranges_are_checked),
		cmocka_unit_test(discards_read_as_zeros),
		cmocka_unit_test(pinned_pages_are_not_discarded),
		cmocka_unit_test(unseen_memory_is_discarded_too),
		cmocka_unit_test(ranges_may_lie_inside_one_memslot),
		cmocka_unit_test(failed_discards_are_reported),
	};

	return unit_run(tests);
}
