/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Breaking ahead: who writes shared frames one after the other finds more and
 * more of them broken already. No byte changes by it, and what nobody wrote
 * in the end merges again.
 */
#include "engine/breaks.h"

#include <errno.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define PAGES (4 * TF_BLOCK_PAGES)
#define HALF (PAGES / 2)

/* Pages broken at once, at most. */
#define RUN 64u

/* Content of page i after it was written. */
#define FRESH(i) (10000u + (i))

static void write_page(char *ram, unsigned i)
{
	unit_fill(ram + i * TF_PAGE, FRESH(i));
}

/* The content of page i as unit_merged() left it. */
static uint64_t merged(unsigned i)
{
	return 1 + i % HALF;
}

static void assert_untouched(const char *ram, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		unit_assert_page(ram + i * TF_PAGE, merged(i));
}

/* Shared frames of pages [from, to). */
static unsigned shared(struct unit *u, const char *ram, unsigned from,
		       unsigned to)
{
	unsigned n = 0;

	for (unsigned i = from; i < to; i++)
		n += unit_state(u, ram + i * TF_PAGE) == TF_FRAME_SHARED;
	return n;
}

static void a_sequential_writer_faults_seldom(void **state)
{
	struct tf_guest *g;
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < PAGES; i++) {
		write_page(ram, i);
		if (i + 1 < PAGES)
			unit_assert_page(ram + (i + 1) * TF_PAGE,
					 merged(i + 1));
	}
	s = unit_stats(&u);
	assert_int_equal(s.breaks + s.breaks_ahead, PAGES);
	assert_in_range(s.breaks, PAGES / RUN, PAGES / 20);
	assert_int_equal(unit_guest_stats(g).breaks, s.breaks);
	assert_int_equal(s.chains, 0);
	assert_int_equal(s.pages_cow, 0);
	unit_assert_run(ram, PAGES, FRESH(0));
	unit_close(&u);
}

/* 1, 2, 4 ... 64, 64 pages at a fault. */
static void runs_double(void **state)
{
	unsigned expected = 0, run = 1;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned faults = 1; expected + RUN < TF_BLOCK_PAGES; faults++) {
		write_page(ram, expected);
		expected += run;
		assert_int_equal(unit_stats(&u).breaks, faults);
		assert_int_equal(unit_breaks(&u), expected);
		assert_int_equal(shared(&u, ram, 0, expected), 0);
		assert_int_equal(unit_state(&u, ram + expected * TF_PAGE),
				 TF_FRAME_SHARED);
		run = 2 * run < RUN ? 2 * run : RUN;
	}
	unit_check(&u);
	unit_close(&u);
}

static void random_writes_break_one_page_each(void **state)
{
	static const unsigned pages[] = { 700, 90, 1900, 40, 400, 399, 1000 };
	const unsigned n = sizeof(pages) / sizeof(*pages);
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < n; i++) {
		write_page(ram, pages[i]);
		assert_int_equal(unit_stats(&u).breaks, i + 1);
		assert_int_equal(unit_stats(&u).breaks_ahead, 0);
	}
	assert_int_equal(shared(&u, ram, 0, PAGES), PAGES - n);
	for (unsigned i = 0; i < n; i++)
		unit_assert_page(ram + pages[i] * TF_PAGE, FRESH(pages[i]));
	unit_close(&u);
}

/* Backwards is not a stream, nor is it lost. */
static void backward_writers_break_one_page_each(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = 300; i-- > 200;)
		write_page(ram, i);
	assert_int_equal(unit_stats(&u).breaks, 100);
	assert_int_equal(unit_stats(&u).breaks_ahead, 0);
	unit_assert_run(ram + 200 * TF_PAGE, 100, FRESH(200));
	assert_untouched(ram, 0, 200);
	assert_untouched(ram, 300, PAGES);
	unit_close(&u);
}

/* A jump ends the stream; a new one begins with a page. */
static void a_jump_begins_anew(void **state)
{
	struct unit u;
	uint64_t before;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < 31; i++) /* 1 + 2 + 4 + 8 + 16 */
		write_page(ram, i);
	assert_int_equal(unit_breaks(&u), 31);
	before = unit_breaks(&u);
	write_page(ram, 300);
	assert_int_equal(unit_breaks(&u), before + 1);
	write_page(ram, 301);
	assert_int_equal(unit_breaks(&u), before + 3);
	unit_check(&u);
	unit_close(&u);
}

static void a_stream_goes_on_across_blocks(void **state)
{
	const unsigned border = TF_BLOCK_PAGES;
	struct unit u;
	uint64_t before;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = border - 200; i < border; i++)
		write_page(ram, i);
	/* Nothing is broken beyond the border before somebody writes there. */
	assert_int_equal(shared(&u, ram, border, PAGES), PAGES - border);
	assert_int_equal(unit_breaks(&u), 200);
	before = unit_stats(&u).breaks;
	write_page(ram, border);
	assert_int_equal(unit_stats(&u).breaks, before + 1);
	assert_int_equal(unit_breaks(&u), 200 + RUN);
	assert_untouched(ram, border + 1, PAGES);
	unit_check(&u);
	unit_close(&u);
}

/* It need not write the very first page of the next block. */
static void a_stream_steps_over_the_border(void **state)
{
	const unsigned border = 2 * TF_BLOCK_PAGES;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = border - 200; i < border; i++)
		write_page(ram, i);
	write_page(ram, border + 3);
	assert_int_equal(unit_breaks(&u), 200 + RUN);
	assert_int_equal(shared(&u, ram, border, border + 3), 3);
	assert_untouched(ram, border, border + 3);
	unit_close(&u);
}

/* Every second page is shared: the others are the guest's, and stay. */
static void a_stream_with_gaps(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = PAGES - 1; i < PAGES; i -= 2) /* downwards: odd */
		unit_fill(ram + i * TF_PAGE, 50000 + i);
	assert_int_equal(unit_stats(&u).breaks, HALF);
	assert_int_equal(unit_stats(&u).breaks_ahead, 0);
	for (unsigned i = 0; i < PAGES; i += 2)
		write_page(ram, i);
	s = unit_stats(&u);
	assert_int_equal(s.breaks + s.breaks_ahead, PAGES);
	assert_true(s.breaks - HALF < HALF / 10);
	assert_int_equal(s.chains, 0);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 2 ? 50000 + i : FRESH(i));
	unit_close(&u);
}

/* The writer that leaves out pages itself. */
static void a_writer_with_gaps(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < PAGES; i += 3)
		write_page(ram, i);
	assert_true(unit_stats(&u).breaks < PAGES / 3 / 10);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 3 ? merged(i) : FRESH(i));
	unit_close(&u);
}

static void what_was_broken_ahead_in_vain_merges_again(void **state)
{
	const unsigned stop = 300;
	struct tf_guest *g;
	struct unit u;
	unsigned ahead;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < stop; i++)
		write_page(ram, i);
	ahead = (unsigned)unit_breaks(&u) - stop;
	assert_in_range(ahead, 1, RUN - 1);
	assert_int_equal(shared(&u, ram, stop, stop + ahead), 0);
	assert_untouched(ram, stop, PAGES);
	unit_passes(&u, 4);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES - stop);
	assert_int_equal(shared(&u, ram, stop, HALF), HALF - stop);
	assert_untouched(ram, stop, PAGES);
	unit_assert_run(ram, stop, FRESH(0));
	write_page(ram, stop); /* protected as before */
	unit_assert_page(ram + (stop + HALF) * TF_PAGE, merged(stop));
	unit_close(&u);
}

/* The same where breaks soon after a merge make frames wait longer. */
static void smart_scan_merges_it_too(void **state)
{
	const unsigned stop = 100;
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	assert_true(u.opts.smart_scan);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	unit_fill_run(ram, HALF, 1);
	unit_fill_run(ram + HALF * TF_PAGE, HALF, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	for (unsigned i = 0; i < stop; i++)
		write_page(ram, i);
	assert_true(unit_breaks(&u) > stop);
	unit_passes(&u, 20);
	assert_int_equal(shared(&u, ram, stop, HALF), HALF - stop);
	assert_untouched(ram, stop, PAGES);
	unit_close(&u);
}

static _Atomic unsigned failing;
static _Atomic bool unmaps;

static int remap_fails(const struct tf_os *os, void *from, size_t len, void *to)
{
	if (!failing)
		return tf_os_linux.remap_over(os, from, len, to);
	failing--;
	if (unmaps)
		munmap(to, len);
	return -ENOMEM;
}

static void expect_all_written(struct unit *u, const char *ram)
{
	unit_check(u);
	unit_assert_run(ram, PAGES, FRESH(0));
	unit_wrap(u, remap_over, tf_os_linux.remap_over);
	unit_passes(u, 2);
	unit_assert_run(ram, PAGES, FRESH(0));
}

/* No break works at all: the kernel copies each page for its writer. */
static void without_memory_the_kernel_copies(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	unmaps = false;
	failing = ~0u;
	for (unsigned i = 0; i < 300; i++) {
		write_page(ram, i);
		unit_assert_page(ram + i * TF_PAGE, FRESH(i));
	}
	unit_check(&u);
	assert_int_equal(unit_stats(&u).breaks, 300);
	assert_int_equal(unit_stats(&u).breaks_ahead, 0);
	assert_int_equal(unit_stats(&u).pages_cow, 300);
	assert_untouched(ram, 300, PAGES);
	failing = 0;
	for (unsigned i = 300; i < PAGES; i++)
		write_page(ram, i);
	assert_true(unit_stats(&u).breaks < 300 + PAGES / 10);
	expect_all_written(&u, ram);
	unit_close(&u);
}

/* A run fails, its first page alone does not: no COW, and no byte lost. */
static void a_run_that_fails_breaks_its_first_page(void **state)
{
	struct unit u;
	uint64_t before;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	unmaps = false;
	for (unsigned i = 0; i < 31; i++)
		write_page(ram, i);
	before = unit_breaks(&u);
	failing = 1;
	write_page(ram, 31);
	assert_int_equal(failing, 0);
	assert_int_equal(unit_breaks(&u), before + 1);
	assert_int_equal(unit_stats(&u).pages_cow, 0);
	assert_int_equal(shared(&u, ram, 32, PAGES), PAGES - 32);
	for (unsigned i = 32; i < PAGES; i++)
		write_page(ram, i);
	assert_int_equal(unit_breaks(&u), PAGES);
	expect_all_written(&u, ram);
	unit_close(&u);
}

/* Failures of every second break or so, with and without what was mapped. */
static void a_writer_goes_on_whatever_fails(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		struct unit u;
		char *ram;

		unit_merged(&u, PAGES, &ram);
		unit_wrap(&u, remap_over, remap_fails);
		unmaps = how;
		for (unsigned i = 0; i < PAGES; i++) {
			if (i % 37 == 0)
				failing = 1 + i % 3;
			write_page(ram, i);
		}
		failing = 0;
		expect_all_written(&u, ram);
		unit_close(&u);
	}
}

/* What lies behind a failed page ahead stays shared, and correct. */
static void gaps_that_fail_are_left(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	unmaps = false;
	for (unsigned i = 500; i-- > 0;)
		if (i % 2)
			unit_fill(ram + i * TF_PAGE, 50000 + i);
	for (unsigned i = 0; i < 500; i += 2) {
		write_page(ram, i);
		if (i % 50 == 0)
			failing = 1;
	}
	failing = 0;
	unit_check(&u);
	for (unsigned i = 0; i < 500; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 2 ? 50000 + i : FRESH(i));
	assert_untouched(ram, 500, PAGES);
	unit_wrap(&u, remap_over, tf_os_linux.remap_over);
	unit_close(&u);
}

static void two_streams_do_not_disturb_each_other(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++) {
		write_page(ram, i);
		write_page(ram, 2 * TF_BLOCK_PAGES + i);
	}
	s = unit_stats(&u);
	assert_int_equal(s.breaks + s.breaks_ahead, 2 * TF_BLOCK_PAGES);
	assert_true(s.breaks < TF_BLOCK_PAGES / 10);
	unit_assert_run(ram, TF_BLOCK_PAGES, FRESH(0));
	unit_assert_run(ram + 2 * TF_BLOCK_BYTES, TF_BLOCK_PAGES,
			FRESH(2 * TF_BLOCK_PAGES));
	assert_untouched(ram, TF_BLOCK_PAGES, 2 * TF_BLOCK_PAGES);
	assert_untouched(ram, 3 * TF_BLOCK_PAGES, PAGES);
	unit_close(&u);
}

/* Pages [from, to), by a thread of its own. */
struct writer {
	pthread_t thread;
	char *ram;
	unsigned from, to;
};

static void *writer_main(void *arg)
{
	const struct writer *w = arg;

	for (unsigned i = w->from; i < w->to; i++)
		write_page(w->ram, i);
	return NULL;
}

/* Two at the same time in one block, and passes meanwhile. */
static void streams_at_the_same_time(void **state)
{
	struct writer w[2];
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < 2; i++) {
		w[i] = (struct writer){ .ram = ram, .from = 256 * i };
		w[i].to = i ? PAGES : 256;
		assert_int_equal(pthread_create(&w[i].thread, NULL, writer_main,
						&w[i]),
				 0);
	}
	unit_passes(&u, 10);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(w[i].thread, NULL);
	expect_all_written(&u, ram);
	unit_close(&u);
}

/* A page broken ahead is followed by the walker like any other. */
static void writes_to_what_was_broken_ahead_are_seen(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	write_page(ram, 100);
	write_page(ram, 101); /* and 102 ahead */
	assert_int_equal(unit_breaks(&u), 3);
	unit_passes(&u, 3);
	assert_int_equal(unit_state(&u, ram + 102 * TF_PAGE), TF_FRAME_SHARED);
	write_page(ram, 200);
	write_page(ram, 201);
	unit_pass(&u);
	write_page(ram, 202); /* no fault */
	assert_int_equal(unit_breaks(&u), 6);
	assert_int_equal(unit_pass(&u).pages_volatile, 1);
	unit_assert_page(ram + 202 * TF_PAGE, FRESH(202));
	unit_assert_page(ram + (202 + HALF) * TF_PAGE, merged(202));
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sequential_writer_faults_seldom),
		cmocka_unit_test(runs_double),
		cmocka_unit_test(random_writes_break_one_page_each),
		cmocka_unit_test(backward_writers_break_one_page_each),
		cmocka_unit_test(a_jump_begins_anew),
		cmocka_unit_test(a_stream_goes_on_across_blocks),
		cmocka_unit_test(a_stream_steps_over_the_border),
		cmocka_unit_test(a_stream_with_gaps),
		cmocka_unit_test(a_writer_with_gaps),
		cmocka_unit_test(what_was_broken_ahead_in_vain_merges_again),
		cmocka_unit_test(smart_scan_merges_it_too),
		cmocka_unit_test(without_memory_the_kernel_copies),
		cmocka_unit_test(a_run_that_fails_breaks_its_first_page),
		cmocka_unit_test(a_writer_goes_on_whatever_fails),
		cmocka_unit_test(gaps_that_fail_are_left),
		cmocka_unit_test(two_streams_do_not_disturb_each_other),
		cmocka_unit_test(streams_at_the_same_time),
		cmocka_unit_test(writes_to_what_was_broken_ahead_are_seen),
	};

	return unit_run(tests);
}
