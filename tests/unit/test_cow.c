/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that the kernel has copied by itself: what becomes of them when they
 * are un-merged and when their memslot goes.
 */
#include <errno.h>

#include "lib/unit_world.h"

#define PAGES 16u
#define HALF (PAGES / 2)

static _Atomic unsigned failing;

static int remap_fails(const struct tf_os *os, void *from, size_t len, void *to)
{
	if (failing) {
		failing--;
		return -ENOMEM;
	}
	return tf_os_linux.remap_over(os, from, len, to);
}

/* Page 0 was copied by the kernel. All I/O of the guest is declared. */
static struct tf_guest *open_declared(struct unit *u, char **ram)
{
	struct tf_guest_opts opts = { .size = sizeof(opts), .io_declared = 1 };
	struct tf_guest *g = NULL;

	unit_init(u);
	u->opts.smart_scan = 0;
	unit_open(u);
	assert_int_equal(tf_guest_create(u->e, &opts, &g), 0);
	*ram = unit_ram(u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, *ram, PAGES * TF_PAGE);
	unit_fill_run(*ram, HALF, 1);
	unit_fill_run(*ram + HALF * TF_PAGE, HALF, 1);
	unit_passes(u, 2);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	unit_wrap(u, remap_over, remap_fails);
	failing = 1;
	unit_fill(*ram, 5);
	assert_int_equal(unit_state(u, *ram), TF_FRAME_COW);
	return g;
}

static void what_the_kernel_copied_comes_back_with_declared_io(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_declared(&u, &ram);
	assert_int_equal(tf_guest_unmerge(g, 0, TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_cow, 0);
	unit_assert_fresh(&u, ram);
	unit_assert_page(ram, 5);
	unit_fill(ram, 1);
	unit_assert_waits_a_pass(&u, ram);
	failing = 1;
	unit_fill(ram, 6);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_COW);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	unit_assert_page(ram, 6);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE); /* not refused */
	unit_assert_page(ram, 6);
	unit_close(&u);
}

static void pinned_pages_stay_where_they_are(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_declared(&u, &ram);
	assert_int_equal(tf_guest_pin(g, 0, TF_PAGE), 0);
	assert_int_equal(tf_guest_unmerge(g, 0, PAGES * TF_PAGE), 0);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_COW);
	assert_int_equal(tf_guest_unpin(g, 0, TF_PAGE), 0);
	assert_int_equal(tf_guest_unmerge(g, 0, TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_cow, 0);
	unit_assert_page(ram, 5);
	unit_close(&u);
}

/* No place can be had for the page of ours. */
static void what_cannot_be_taken_back_stays(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_declared(&u, &ram);
	failing = 100;
	assert_int_equal(tf_guest_unmerge(g, 0, TF_PAGE), 0);
	failing = 0;
	assert_int_equal(unit_state(&u, ram), TF_FRAME_COW);
	unit_assert_page(ram, 5);
	unit_fill(ram, 7);
	unit_assert_page(ram, 7);
	unit_assert_page(ram + HALF * TF_PAGE, 1);
	unit_check(&u);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_the_kernel_copied_comes_back_with_declared_io),
		cmocka_unit_test(pinned_pages_stay_where_they_are),
		cmocka_unit_test(what_cannot_be_taken_back_stays),
	};

	return unit_run(tests);
}
