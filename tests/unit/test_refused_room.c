/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room for what is left on the table for want of mappings: who gets the last
 * of the VMA budget, and that refused frames merge once there is more.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/unit_refused.h"

#define BUDGET 64u

/* A budget that leaves room to look at refused frames again. */
#define LARGE 1024u

static unsigned long max_map_count;
static uint64_t clock_ns;

/* The real files, but for the limit. */
static int read_file(const struct tf_os *os, const char *path, char **text)
{
	if (strcmp(path, "/proc/sys/vm/max_map_count") != 0)
		return tf_os_linux.read_file(os, path, text);
	return asprintf(text, "%lu\n", max_map_count) < 0 ? -ENOMEM : 0;
}

static uint64_t now_ns(const struct tf_os *os)
{
	(void)os;
	return clock_ns;
}

/* As if vm.max_map_count left so much. Not read again for ten seconds. */
static void set_budget(struct unit *u, uint64_t budget)
{
	pthread_mutex_lock(&u->e->lock);
	u->e->vma_budget = budget;
	pthread_mutex_unlock(&u->e->lock);
}

/*
 * Contents [1, n] side by side, then once more in runs of `len` pages with a
 * unique page before each. How many mappings merging adds for them.
 */
static uint64_t vmas_for_runs(unsigned len, unsigned runs)
{
	const unsigned n = len * runs;
	uint64_t vmas;
	struct unit u;
	char *ram, *at;

	refused_open(&u, BUDGET);
	ram = unit_ram(&u, (2 * n + runs) * TF_PAGE);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, (2 * n + runs) * TF_PAGE);
	unit_fill_run(ram, n, 1);
	at = ram + n * TF_PAGE;
	for (unsigned i = 0; i < runs; i++, at += (len + 1) * TF_PAGE) {
		unit_fill(at, 100000 + i);
		unit_fill_run(at + TF_PAGE, len, 1 + i * len);
	}
	unit_passes(&u, 4);
	assert_true(refused_count(&u) > 0);
	assert_true(unit_stats(&u).pages_sharing > 0);
	vmas = unit_stats(&u).vmas;
	unit_assert_run(ram, n, 1);
	at = ram + n * TF_PAGE;
	for (unsigned i = 0; i < runs; i++, at += (len + 1) * TF_PAGE)
		unit_assert_run(at + TF_PAGE, len, 1 + i * len);
	unit_close(&u);
	return vmas;
}

static void lone_pages_stop_at_three_quarters(void **state)
{
	(void)state;
	assert_in_range(vmas_for_runs(1, 60), BUDGET / 2, BUDGET / 4 * 3);
	assert_in_range(vmas_for_runs(3, 60), BUDGET / 2, BUDGET / 4 * 3);
}

static void runs_of_four_stop_at_seven_eighths(void **state)
{
	(void)state;
	assert_in_range(vmas_for_runs(4, 60), BUDGET / 4 * 3 + 1,
			BUDGET / 8 * 7);
	assert_in_range(vmas_for_runs(15, 50), BUDGET / 4 * 3 + 1,
			BUDGET / 8 * 7);
}

static void runs_of_sixteen_get_all_of_it(void **state)
{
	(void)state;
	assert_in_range(vmas_for_runs(16, 50), BUDGET / 8 * 7 + 1, BUDGET);
	assert_in_range(vmas_for_runs(40, 50), BUDGET / 8 * 7 + 1, BUDGET);
}

/* Every other page of `n` has one of `n` / 8 contents; the others are unique.
 */
static void fill_scattered(char *ram, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		unit_fill(ram + i * TF_PAGE,
			  i % 2 ? 100000 + i : 1 + i / 2 % (n / 8));
}

static void assert_scattered(const char *ram, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 2 ? 100000 + i : 1 + i / 2 % (n / 8));
}

static void long_runs_find_room_after_lone_pages(void **state)
{
	const unsigned n = 256, run = 16;
	struct tf_guest *g;
	uint64_t merged;
	struct unit u;
	char *ram, *late;

	(void)state;
	refused_open(&u, BUDGET);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, (n + 2 * run) * TF_PAGE);
	late = ram + n * TF_PAGE;
	unit_slot(g, 0, 0, ram, (n + 2 * run) * TF_PAGE);
	fill_scattered(ram, n);
	unit_passes(&u, 4);
	assert_true(refused_count(&u) > 0);
	merged = unit_guest_stats(g).pages_merged;
	unit_fill_run(late, run, 5000);
	unit_fill_run(late + run * TF_PAGE, run, 5000);
	unit_passes(&u, 3);
	assert_int_equal(unit_guest_stats(g).pages_merged, merged + 2 * run);
	assert_in_range(unit_stats(&u).vmas, 1, BUDGET);
	refused_count(&u);
	assert_scattered(ram, n);
	unit_close(&u);
}

/* Also when the budget is far overdrawn: it costs nothing. */
static void what_continues_a_merged_run_always_merges(void **state)
{
	const unsigned n = 32;
	struct unit u;
	char *ram;

	(void)state;
	refused_open(&u, 0);
	ram = unit_ram(&u, 4 * n * TF_PAGE);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, 4 * n * TF_PAGE);
	unit_fill_run(ram, n, 1);
	unit_fill_run(ram + 2 * n * TF_PAGE, n, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).pages_sharing, n);
	unit_fill(ram + (n - 1) * TF_PAGE, 500);
	unit_fill(ram + (n - 1) * TF_PAGE, n);     /* as it was */
	unit_fill(ram + (3 * n + 5) * TF_PAGE, 7); /* a lone twin */
	set_budget(&u, 0);
	unit_passes(&u, 3);
	assert_int_equal(unit_state(&u, ram + (n - 1) * TF_PAGE),
			 TF_FRAME_SHARED);
	assert_true(refused_at(&u, ram + (3 * n + 5) * TF_PAGE));
	assert_int_equal(refused_count(&u), 1);
	unit_close(&u);
}

/* Passes until nothing is refused any more, at most `most`. */
static void pass_until_none(struct unit *u, unsigned most)
{
	while (refused_count(u) && most--)
		unit_pass(u);
	assert_int_equal(refused_count(u), 0);
}

static void a_larger_limit_gives_room(enum tf_scan_mode mode, int smart)
{
	struct unit u;
	char *ram;

	unit_init(&u);
	unit_wrap(&u, read_file, read_file);
	unit_wrap(&u, now_ns, now_ns);
	clock_ns = UINT64_C(1000000000000);
	max_map_count = 100;
	u.opts.scan_mode = mode;
	u.opts.smart_scan = smart;
	unit_open(&u);
	refused_seven(&u, &ram);
	unit_passes(&u, 2);
	assert_int_equal(refused_count(&u), 7);
	max_map_count = 100000;
	clock_ns += UINT64_C(11000000000);
	pass_until_none(&u, 10);
	assert_int_equal(unit_stats(&u).pages_shared, 3);
	assert_int_equal(unit_stats(&u).pages_sharing, 4);
	unit_close(&u);
}

static void they_merge_under_a_larger_limit(void **state)
{
	(void)state;
	a_larger_limit_gives_room(TF_SCAN_AUTO, 0);
	a_larger_limit_gives_room(TF_SCAN_AUTO, 1);
	a_larger_limit_gives_room(TF_SCAN_HASH, 1);
}

/*
 * `n` scattered pages, some of which merge; those that did are unmerged and
 * given up, so that all mappings are free for those that did not.
 */
static void room_after_unmerging(size_t budget, unsigned n)
{
	struct tf_guest *g;
	struct unit u;
	uint64_t was;
	char *ram;

	refused_open(&u, budget);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, n * TF_PAGE);
	unit_slot(g, 0, 0, ram, n * TF_PAGE);
	fill_scattered(ram, n);
	unit_passes(&u, 4);
	was = refused_count(&u);
	assert_true(was > 16);
	assert_in_range(unit_stats(&u).vmas, 1, budget / 4 * 3);
	for (unsigned i = 0; i < n; i++)
		if (unit_state(&u, ram + i * TF_PAGE) == TF_FRAME_SHARED)
			assert_int_equal(
				tf_guest_discard(g, i * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(tf_guest_unmerge(g, 0, n * TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_sharing, 0);
	unit_passes(&u, 10);
	assert_in_range(unit_stats(&u).vmas, 1, budget / 4 * 3);
	assert_true(unit_stats(&u).pages_sharing > 8);
	assert_true(refused_count(&u) < was);
	for (unsigned i = 1; i < n; i += 2)
		unit_assert_page(ram + i * TF_PAGE, 100000 + i);
	unit_close(&u);
}

static void they_merge_when_mappings_are_free_again(void **state)
{
	(void)state;
	room_after_unmerging(LARGE, 2048);
}

static void also_when_the_budget_is_small(void **state)
{
	(void)state;
	room_after_unmerging(BUDGET, 256);
}

/* A pinned page splits a run: what follows it needs a mapping of its own. */
static void pinned_pages_do_not_make_it_overrun(void **state)
{
	const unsigned n = 256;
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	refused_open(&u, BUDGET);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, 2 * n * TF_PAGE);
	unit_slot(g, 0, 0, ram, 2 * n * TF_PAGE);
	unit_fill_run(ram, n, 1);
	unit_fill_run(ram + n * TF_PAGE, n, 1);
	for (unsigned i = n; i < 2 * n; i += 2)
		assert_int_equal(tf_guest_pin(g, i * TF_PAGE, TF_PAGE), 0);
	unit_passes(&u, 4);
	assert_in_range(unit_stats(&u).vmas, 1, BUDGET);
	refused_count(&u);
	unit_assert_run(ram, n, 1);
	unit_assert_run(ram + n * TF_PAGE, n, 1);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lone_pages_stop_at_three_quarters),
		cmocka_unit_test(runs_of_four_stop_at_seven_eighths),
		cmocka_unit_test(runs_of_sixteen_get_all_of_it),
		cmocka_unit_test(long_runs_find_room_after_lone_pages),
		cmocka_unit_test(what_continues_a_merged_run_always_merges),
		cmocka_unit_test(they_merge_under_a_larger_limit),
		cmocka_unit_test(they_merge_when_mappings_are_free_again),
		cmocka_unit_test(also_when_the_budget_is_small),
		cmocka_unit_test(pinned_pages_do_not_make_it_overrun),
	};

	return unit_run(tests);
}
