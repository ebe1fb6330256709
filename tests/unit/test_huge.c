/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages: their writes are not tracked (protecting one would split it),
 * so they settle by two equal hashes, and only those that have something to
 * merge are split.
 */
#include <string.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define HUGE_KIB (TF_BLOCK_BYTES / 1024)

/* Two blocks of huge pages, each page unique; false: this host has none. */
static bool open_huge(struct unit *u, char **ram)
{
	unit_init(u);
	unit_open(u);
	*ram = unit_ram(u, 2 * TF_BLOCK_BYTES);
	if (madvise(*ram, 2 * TF_BLOCK_BYTES, MADV_HUGEPAGE))
		return false;
	unit_slot(unit_guest(u, NULL), 0, 0, *ram, 2 * TF_BLOCK_BYTES);
	unit_fill_run(*ram, 2 * TF_BLOCK_PAGES, 1);
	return unit_smaps(*ram, "AnonHugePages:") == 2 * HUGE_KIB;
}

static void no_huge(struct unit *u)
{
	unit_close(u);
	unit_skip("this host gives no transparent huge pages");
}

static void unique_huge_pages_stay_huge(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	if (!open_huge(&u, &ram))
		no_huge(&u);
	unit_passes(&u, 4);
	assert_int_equal(unit_smaps(ram, "AnonHugePages:"), 2 * HUGE_KIB);
	assert_int_equal(unit_stats(&u).pages_unshared, 2 * TF_BLOCK_PAGES);
	unit_fill(ram, 5000); /* a write does not split it either */
	unit_passes(&u, 2);
	assert_int_equal(unit_smaps(ram, "AnonHugePages:"), 2 * HUGE_KIB);
	unit_close(&u);
}

static void huge_pages_settle_by_two_hashes(void **state)
{
	struct tf_pass p;
	struct unit u;
	char *ram;

	(void)state;
	if (!open_huge(&u, &ram))
		no_huge(&u);
	unit_fill(ram + TF_PAGE, 1); /* a twin of page 0 */
	p = unit_pass(&u);
	assert_int_equal(p.pages_hashed, 2 * TF_BLOCK_PAGES);
	assert_int_equal(p.merged, 0);
	unit_fill(ram + TF_PAGE, 2); /* no twin any more */
	p = unit_pass(&u);
	assert_int_equal(p.merged, 0);
	unit_close(&u);
}

static void only_blocks_with_twins_are_split(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	if (!open_huge(&u, &ram))
		no_huge(&u);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).pages_shared, 1);
	assert_int_equal(unit_stats(&u).pages_sharing, 1);
	assert_int_equal(unit_smaps(ram + TF_BLOCK_BYTES, "AnonHugePages:"),
			 HUGE_KIB);
	assert_int_equal(unit_smaps(ram + 2 * TF_PAGE, "AnonHugePages:"), 0);
	unit_assert_page(ram, 1);
	unit_assert_page(ram + TF_PAGE, 1);
	unit_assert_run(ram + 2 * TF_PAGE, 2 * TF_BLOCK_PAGES - 2, 3);
	unit_close(&u);
}

/* What was split is tracked like any other memory. */
static void split_blocks_are_tracked(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	if (!open_huge(&u, &ram))
		no_huge(&u);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 6);
	unit_fill(ram + 2 * TF_PAGE, 1);
	unit_passes(&u, 10);
	assert_int_equal(unit_stats(&u).pages_sharing, 2);
	unit_assert_page(ram + 2 * TF_PAGE, 1);
	unit_assert_run(ram + 3 * TF_PAGE, 2 * TF_BLOCK_PAGES - 3, 4);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unique_huge_pages_stay_huge),
		cmocka_unit_test(huge_pages_settle_by_two_hashes),
		cmocka_unit_test(only_blocks_with_twins_are_split),
		cmocka_unit_test(split_blocks_are_tracked),
	};

	return unit_run(tests);
}
