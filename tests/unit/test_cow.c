/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that the kernel has copied by itself: what becomes of them when they
 * are un-merged and when their memslot goes.
 */
#include <errno.h>
#include <sys/mman.h>

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

/* A device may hold the page: it stays where it is, whatever is asked. */
static struct tf_guest *open_copied(struct unit *u, char **ram)
{
	struct tf_guest *g = unit_merged(u, PAGES, ram);

	unit_wrap(u, remap_over, remap_fails);
	failing = 1;
	unit_fill(*ram + 3 * TF_PAGE, 5);
	failing = 0;
	assert_int_equal(unit_state(u, *ram + 3 * TF_PAGE), TF_FRAME_COW);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_int_equal(unit_stats(u).pages_cow, 0);
	unit_check(u);
	return g;
}

static void memory_with_a_copied_page_comes_back(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_copied(&u, &ram);
	for (unsigned round = 0; round < 3; round++) {
		unit_fill_run(ram, HALF, 1);
		unit_fill(ram + 3 * TF_PAGE, 5);
		unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
		assert_int_equal(unit_state(&u, ram + 3 * TF_PAGE),
				 TF_FRAME_COW);
		assert_int_equal(unit_stats(&u).pages_cow, 1);
		assert_int_equal(unit_guest_stats(g).pages_seen, 1);
		unit_passes(&u, 3);
		/* Its twin shares the slot that it still spans. */
		assert_int_equal(unit_guest_stats(g).pages_merged, PAGES - 1);
		unit_fill(ram + 3 * TF_PAGE, 6);
		unit_assert_page(ram + 3 * TF_PAGE, 6);
		unit_assert_page(ram + (HALF + 3) * TF_PAGE, 4);
		assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	}
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	assert_int_equal(tf_guest_discard(g, 3 * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_cow, 0);
	assert_int_equal(unit_guest_stats(g).pages_seen, 0);
	unit_assert_page(ram + 3 * TF_PAGE, 0);
	unit_close(&u);
}

/* Something else is mapped there, and registered: no copy is known. */
static void map_over(struct unit *u, struct tf_guest *g, char *ram)
{
	assert_ptr_equal(mmap(ram, PAGES * TF_PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				      MAP_FIXED,
			      -1, 0),
			 ram);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	assert_int_equal(unit_stats(u).pages_cow, 0);
	assert_int_equal(u->e->n.dups, 0);
}

/* The embedder has mapped something else there. */
static void what_was_mapped_over_is_forgotten(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_copied(&u, &ram);
	map_over(&u, g, ram);
	unit_fill_run(ram, HALF, 1);
	unit_fill_run(ram + HALF * TF_PAGE, HALF, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	unit_close(&u);
}

/* What was known when the memory was refused is not known for ever. */
static void a_refusal_leaves_no_memory_of_it(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_copied(&u, &ram);
	assert_int_equal(madvise(ram + HALF * TF_PAGE, TF_PAGE, MADV_DONTFORK),
			 0);
	assert_int_equal(tf_guest_add_memslot(g, 0, 0, ram, PAGES * TF_PAGE),
			 -EOPNOTSUPP);
	map_over(&u, g, ram);
	unit_close(&u);
}

/* Its slot is the first guest's. */
static void another_guest_is_refused(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	open_copied(&u, &ram);
	g = unit_guest(&u, NULL);
	assert_int_equal(tf_guest_add_memslot(g, 0, 0, ram, PAGES * TF_PAGE),
			 -EOPNOTSUPP);
	unit_close(&u);
}

static int merged_uffd;

static int no_protection(const struct tf_os *os, int uffd, void *addr,
			 size_t len, bool on)
{
	if (on && uffd == merged_uffd)
		return -ENOMEM;
	return tf_os_linux.uffd_protect(os, uffd, addr, len, on);
}

/* What cannot be protected is the kernel's to copy: one content, and more
 * copies of it than one slot can count. */
#define MANY (5u * 4096)

static void copies_without_number_are_counted(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, MANY, &ram);
	for (unsigned i = 0; i < MANY; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	merged_uffd = u.e->uffd_merged;
	unit_wrap(&u, uffd_protect, no_protection);
	unit_passes(&u, 3);
	unit_wrap(&u, uffd_protect, tf_os_linux.uffd_protect);
	assert_int_equal(unit_guest_stats(g).pages_cow, MANY);
	for (unsigned i = 0; i < MANY; i++)
		unit_assert_page(ram + i * TF_PAGE, 1);
	assert_int_equal(tf_guest_discard(g, 0, MANY * TF_PAGE), 0);
	unit_check(&u);
	assert_int_equal(u.e->n.dups, 0);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_the_kernel_copied_comes_back_with_declared_io),
		cmocka_unit_test(pinned_pages_stay_where_they_are),
		cmocka_unit_test(what_cannot_be_taken_back_stays),
		cmocka_unit_test(memory_with_a_copied_page_comes_back),
		cmocka_unit_test(what_was_mapped_over_is_forgotten),
		cmocka_unit_test(a_refusal_leaves_no_memory_of_it),
		cmocka_unit_test(another_guest_is_refused),
		cmocka_unit_test(copies_without_number_are_counted),
	};

	return unit_run(tests);
}
