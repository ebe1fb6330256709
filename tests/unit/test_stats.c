/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Statistics: levels follow the state, counters only grow. */
#include <string.h>

#include "lib/unit_world.h"

#define PAGES 64u

static void a_new_engine_has_done_nothing(void **state)
{
	struct tf_stats s;
	struct unit u;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	s = unit_stats(&u);
	assert_int_equal(s.size, sizeof(s));
	assert_int_equal(s.pages_shared + s.pages_sharing + s.pages_unshared +
				 s.pages_volatile + s.zero_pages + s.chains +
				 s.pages_scanned + s.full_scans + s.breaks,
			 0);
	assert_true(s.metadata_bytes > 0);
	assert_true(s.profit_bytes < 0);
	assert_int_equal(s.can_merge, 1);
	unit_close(&u);
}

static void levels_add_up_to_the_populated_pages(void **state)
{
	struct tf_guest_stats gs;
	struct tf_guest *g;
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, PAGES, &ram);
	for (unsigned i = 0; i < 20; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	for (unsigned i = 20; i < 30; i++)
		unit_fill(ram + i * TF_PAGE, 0);
	unit_fill_run(ram + 30 * TF_PAGE, 10, 100);
	unit_passes(&u, 2);
	unit_fill(ram + 30 * TF_PAGE, 200);
	unit_pass(&u);
	s = unit_stats(&u);
	assert_int_equal(s.pages_shared, 1);
	assert_int_equal(s.pages_sharing, 19);
	assert_int_equal(s.zero_pages, 10);
	assert_int_equal(s.pages_unshared, 9);
	assert_int_equal(s.pages_volatile, 1);
	assert_int_equal(s.full_scans, 3);
	assert_int_equal(s.pages_recoverable, 0);
	gs = unit_guest_stats(g);
	assert_int_equal(gs.pages_seen, 40);
	assert_int_equal(gs.pages_merged, 20);
	assert_int_equal(gs.zero_pages, 10);
	assert_int_equal(gs.memslots, 1);
	assert_int_equal(gs.bytes, PAGES * TF_PAGE);
	unit_close(&u);
}

/* Saved pages less what the engine and the kernel keep for them. */
static void profit_counts_the_costs(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, 4 * TF_BLOCK_PAGES, &ram);
	s = unit_stats(&u);
	assert_true(s.vmas > 0);
	assert_true(s.profit_bytes <
		    (int64_t)(s.pages_sharing * TF_PAGE - s.metadata_bytes));
	assert_true(s.profit_bytes >
		    (int64_t)(s.pages_sharing * TF_PAGE - s.metadata_bytes -
			      s.vmas * 1000));
	unit_close(&u);
}

static void older_callers_get_what_they_know(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	memset(&s, 0xee, sizeof(s));
	s.size = offsetof(struct tf_stats, pages_unshared);
	assert_int_equal(tf_engine_stats(u.e, &s), 0);
	assert_int_equal(s.pages_sharing, PAGES / 2);
	assert_true(s.pages_unshared == UINT64_C(0xeeeeeeeeeeeeeeee));
	assert_int_equal(s.size, offsetof(struct tf_stats, pages_unshared));
	unit_close(&u);
}

static void metadata_returns_with_the_memslot(void **state)
{
	uint64_t before, full;
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	ram = unit_ram(&u, 8 * TF_BLOCK_BYTES);
	before = unit_stats(&u).metadata_bytes;
	g = unit_guest(&u, NULL);
	unit_slot(g, 0, 0, ram, 8 * TF_BLOCK_BYTES);
	unit_fill_run(ram, 8 * TF_BLOCK_PAGES, 1);
	unit_passes(&u, 2);
	full = unit_stats(&u).metadata_bytes;
	assert_true(full - before >= 8 * sizeof(struct tf_block));
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_true(unit_stats(&u).metadata_bytes < before + 4096);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_engine_has_done_nothing),
		cmocka_unit_test(levels_add_up_to_the_populated_pages),
		cmocka_unit_test(profit_counts_the_costs),
		cmocka_unit_test(older_callers_get_what_they_know),
		cmocka_unit_test(metadata_returns_with_the_memslot),
	};

	return unit_run(tests);
}
