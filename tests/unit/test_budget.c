/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The VMA budget: what it is computed from, and what happens at its end. */
#include "engine/budget.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define PAGES 256u

static unsigned long max_map_count;
static bool no_files;

/* The real files, but for the limit. */
static int read_file(const struct tf_os *os, const char *path, char **text)
{
	if (no_files)
		return -EMFILE;
	if (strcmp(path, "/proc/sys/vm/max_map_count") != 0)
		return tf_os_linux.read_file(os, path, text);
	return asprintf(text, "%lu\n", max_map_count) < 0 ? -ENOMEM : 0;
}

/* Every other page has a twin; the others are unique: no runs. */
static struct tf_guest *scattered(struct unit *u, char **ram)
{
	struct tf_guest *g = unit_guest(u, NULL);

	*ram = unit_ram(u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, *ram, PAGES * TF_PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(*ram + i * TF_PAGE, i % 2 ? 1000 + i : 1 + i % 64);
	return g;
}

static void merging_stops_at_the_budget(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.vma_budget = 40;
	unit_open(&u);
	scattered(&u, &ram);
	unit_passes(&u, 4);
	s = unit_stats(&u);
	assert_int_equal(s.vma_budget, 40);
	assert_true(s.pages_sharing > 0);
	assert_in_range(s.vmas, 1, 40);
	assert_true(s.budget_refused > 0);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 2 ? 1000 + i : 1 + i % 64);
	unit_close(&u);
}

static void zero_pages_need_no_budget(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.vma_budget = 1;
	unit_open(&u);
	scattered(&u, &ram);
	for (unsigned i = 1; i < PAGES; i += 2)
		unit_fill(ram + i * TF_PAGE, 0);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).zero_pages, PAGES / 2);
	assert_int_equal(unit_stats(&u).pages_sharing, 0);
	assert_true(unit_stats(&u).budget_refused > 0);
	unit_close(&u);
}

/* What unmerging frees may be spent again. */
static void the_budget_is_given_back(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.vma_budget = 40;
	u.opts.smart_scan = 0;
	unit_open(&u);
	g = scattered(&u, &ram);
	unit_passes(&u, 4);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_int_equal(unit_stats(&u).vmas, 0);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	unit_passes(&u, 3);
	assert_true(unit_stats(&u).pages_sharing > 0);
	unit_close(&u);
}

static void a_small_limit_lowers_the_budget(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_wrap(&u, read_file, read_file);
	no_files = false;
	max_map_count = 2000;
	unit_open(&u);
	scattered(&u, &ram);
	assert_true(unit_stats(&u).vma_budget < 2000 - 1024 - 2 * 256);
	assert_true(unit_stats(&u).vma_budget > 0);
	assert_true(unit_log_has(&u, "vm.max_map_count is 2000"));
	assert_true(unit_log_has(&u, "raise it"));
	unit_passes(&u, 2);
	assert_true(unit_stats(&u).pages_sharing > 0);
	unit_close(&u);
}

static void a_tiny_limit_stops_merging_and_nothing_else(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_wrap(&u, read_file, read_file);
	no_files = false;
	max_map_count = 100;
	unit_open(&u);
	scattered(&u, &ram);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).vma_budget, 0);
	assert_int_equal(unit_stats(&u).pages_sharing, 0);
	assert_true(unit_stats(&u).budget_refused > 0);
	unit_close(&u);
}

static void a_large_limit_is_used(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_wrap(&u, read_file, read_file);
	no_files = false;
	max_map_count = 1600000;
	unit_open(&u);
	scattered(&u, &ram);
	assert_in_range(unit_stats(&u).vma_budget, 1490000, 1500000 - 2 * 256);
	assert_false(unit_log_has(&u, "max_map_count"));
	unit_close(&u);
}

static uint64_t clock_ns;

static uint64_t now_ns(const struct tf_os *os)
{
	(void)os;
	return clock_ns;
}

static void the_limit_is_read_again_after_a_while(void **state)
{
	struct unit u;
	uint64_t first;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_wrap(&u, read_file, read_file);
	unit_wrap(&u, now_ns, now_ns);
	clock_ns = UINT64_C(1000000000000);
	no_files = false;
	max_map_count = 100000;
	unit_open(&u);
	scattered(&u, &ram);
	first = unit_stats(&u).vma_budget;
	max_map_count = 200000;
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).vma_budget, first);
	clock_ns += UINT64_C(11000000000);
	no_files = true; /* what was true is the best guess */
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).vma_budget, first);
	no_files = false;
	unit_pass(&u);
	assert_true(unit_stats(&u).vma_budget > first + 90000);
	unit_close(&u);
}

static void allows_up_to_the_limit(void **state)
{
	struct tf_engine e = { .vma_budget = 10 };

	(void)state;
	e.n.vmas = 6;
	assert_true(tf_budget_allows(&e, 4, TF_BLOCK_PAGES));
	assert_false(tf_budget_allows(&e, 5, TF_BLOCK_PAGES));
	e.vma_budget = 6;
	assert_true(tf_budget_allows(&e, 0, 1)); /* joins what is there */
}

/* The last quarter is for runs, the last eighth for long ones. */
static void long_runs_go_first(void **state)
{
	struct tf_engine e = { .vma_budget = 64000 };

	(void)state;
	assert_false(tf_budget_tight(&e));
	e.n.vmas = 47900;
	assert_true(tf_budget_tight(&e));
	assert_true(tf_budget_allows(&e, 2, 1));
	e.n.vmas = 50000;
	assert_false(tf_budget_allows(&e, 2, 1));
	assert_true(tf_budget_allows(&e, 2, 4));
	e.n.vmas = 57000;
	assert_false(tf_budget_allows(&e, 2, 4));
	assert_true(tf_budget_allows(&e, 2, 16));
	e.n.vmas = 63999;
	assert_false(tf_budget_allows(&e, 2, 512));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merging_stops_at_the_budget),
		cmocka_unit_test(zero_pages_need_no_budget),
		cmocka_unit_test(the_budget_is_given_back),
		cmocka_unit_test(a_small_limit_lowers_the_budget),
		cmocka_unit_test(a_tiny_limit_stops_merging_and_nothing_else),
		cmocka_unit_test(a_large_limit_is_used),
		cmocka_unit_test(the_limit_is_read_again_after_a_while),
		cmocka_unit_test(allows_up_to_the_limit),
		cmocka_unit_test(long_runs_go_first),
	};

	return unit_run(tests);
}
