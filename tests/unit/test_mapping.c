/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Slots and holes over frames, and the estimate of mappings. */
#include "engine/mapping.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/chain.h"
#include "engine/store.h"
#include "lib/unit_world.h"

#define PAGES 16u

/* Mappings of this process inside [ram, ram + bytes), from the first on. */
static unsigned maps_inside(const char *ram, size_t bytes)
{
	unsigned n = 0;

	for (size_t at = 0; at < bytes; at += TF_PAGE) {
		unsigned long kib = unit_smaps(ram + at, "Size:");

		at += kib * 1024 - TF_PAGE;
		n++;
	}
	return n;
}

static void the_estimate_follows_the_truth(void **state)
{
	struct unit u;
	unsigned real;
	char *ram;

	(void)state;
	unit_merged(&u, TF_BLOCK_PAGES, &ram);
	real = maps_inside(ram, TF_BLOCK_BYTES);
	assert_in_range(unit_stats(&u).vmas, real - 1, real + 2);
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i += 16)
		unit_fill(ram + i * TF_PAGE, 1000 + i);
	real = maps_inside(ram, TF_BLOCK_BYTES);
	assert_true(real > 60);
	assert_in_range(unit_stats(&u).vmas, real - 1, real + 2);
	unit_close(&u);
}

static void nothing_merged_costs_nothing(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill_run(ram, PAGES, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).vmas, 0);
	assert_int_equal(maps_inside(ram, PAGES * TF_PAGE), 1);
	unit_close(&u);
}

static void merged_pages_are_the_file_until_written(void **state)
{
	bool copied[PAGES];
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	memset(copied, 1, sizeof(copied));
	pthread_mutex_lock(&u.e->lock);
	assert_int_equal(tf_find_copied(u.e, ram, PAGES, copied), 0);
	for (unsigned i = 0; i < PAGES; i++)
		assert_false(copied[i]);
	tf_unprotect(u.e, ram, 1);
	pthread_mutex_unlock(&u.e->lock);
	ram[0]++; /* the kernel copies */
	pthread_mutex_lock(&u.e->lock);
	assert_int_equal(tf_find_copied(u.e, ram, PAGES, copied), 0);
	assert_true(copied[0]);
	assert_false(copied[1]);
	pthread_mutex_unlock(&u.e->lock);
	ram[0]--;
	unit_close(&u);
}

static long no_pagemap(const struct tf_os *os, int fd, const void *addr,
		       uint64_t *entries, size_t n)
{
	(void)os;
	(void)fd;
	(void)addr;
	(void)entries;
	return n > 1 ? (long)n - 1 : -EIO;
}

static void short_reads_of_pagemap_are_errors(void **state)
{
	bool copied[PAGES];
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, pagemap_read, no_pagemap);
	pthread_mutex_lock(&u.e->lock);
	assert_int_equal(tf_find_copied(u.e, ram, 1, copied), -EIO);
	assert_int_equal(tf_find_copied(u.e, ram, PAGES, copied), -EIO);
	pthread_mutex_unlock(&u.e->lock);
	unit_wrap(&u, pagemap_read, tf_os_linux.pagemap_read);
	unit_close(&u);
}

static void holes_read_as_zeros_and_are_watched(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	assert_int_equal(tf_guest_discard(g, 0, PAGES * TF_PAGE), 0);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, 0);
	unit_fill(ram, 1);
	assert_int_equal(unit_pass(&u).pages_volatile, 1);
	unit_close(&u);
}

static long map_fails(const struct tf_os *os, void *addr, size_t len, int prot,
		      int flags, int fd, uint64_t off)
{
	(void)os;
	(void)addr;
	(void)len;
	(void)prot;
	(void)flags;
	(void)fd;
	(void)off;
	return -ENOMEM;
}

static int remap_fails(const struct tf_os *os, void *from, size_t len, void *to)
{
	(void)os;
	(void)from;
	(void)len;
	(void)to;
	return -ENOMEM;
}

/* Without a mapping for the hole: what was there, or zeros another way. */
static void failed_holes_change_nothing(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, map, map_fails);
	unit_wrap(&u, remap_over, remap_fails);
	assert_int_equal(tf_guest_discard(g, 0, TF_PAGE), -ENOMEM);
	unit_assert_page(ram, 1);
	unit_check(&u);
	unit_wrap(&u, remap_over, tf_os_linux.remap_over);
	unit_wrap(&u, map, tf_os_linux.map);
	assert_int_equal(tf_guest_discard(g, 0, TF_PAGE), 0);
	unit_assert_page(ram, 0);
	unit_check(&u);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_estimate_follows_the_truth),
		cmocka_unit_test(nothing_merged_costs_nothing),
		cmocka_unit_test(merged_pages_are_the_file_until_written),
		cmocka_unit_test(short_reads_of_pagemap_are_errors),
		cmocka_unit_test(holes_read_as_zeros_and_are_watched),
		cmocka_unit_test(failed_holes_change_nothing),
	};

	return unit_run(tests);
}
