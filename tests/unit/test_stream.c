/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Breaking ahead: who writes shared frames one after the other finds more and
 * more of them broken already, and no byte changes by it. Who writes in
 * another order pays for each.
 */
#include "lib/unit_stream.h"

static void a_sequential_writer_faults_seldom(void **state)
{
	struct tf_guest *g;
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = 0; i < STREAM_PAGES; i++) {
		stream_write(ram, i);
		if (i + 1 < STREAM_PAGES)
			unit_assert_page(ram + (i + 1) * TF_PAGE,
					 stream_merged(i + 1));
	}
	s = unit_stats(&u);
	assert_int_equal(s.breaks + s.breaks_ahead, STREAM_PAGES);
	assert_in_range(s.breaks, STREAM_PAGES / STREAM_RUN, STREAM_PAGES / 20);
	assert_int_equal(unit_guest_stats(g).breaks, s.breaks);
	assert_int_equal(s.chains, 0);
	assert_int_equal(s.pages_cow, 0);
	unit_assert_run(ram, STREAM_PAGES, STREAM_FRESH(0));
	unit_close(&u);
}

/* 1, 2, 4 ... 64, 64 pages at a fault. */
static void runs_double(void **state)
{
	unsigned expected = 0, run = 1;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned faults = 1; expected + STREAM_RUN < TF_BLOCK_PAGES;
	     faults++) {
		stream_write(ram, expected);
		expected += run;
		assert_int_equal(unit_stats(&u).breaks, faults);
		assert_int_equal(unit_breaks(&u), expected);
		assert_int_equal(stream_shared(&u, ram, 0, expected), 0);
		assert_int_equal(unit_state(&u, ram + expected * TF_PAGE),
				 TF_FRAME_SHARED);
		run = 2 * run < STREAM_RUN ? 2 * run : STREAM_RUN;
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
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = 0; i < n; i++) {
		stream_write(ram, pages[i]);
		assert_int_equal(unit_stats(&u).breaks, i + 1);
		assert_int_equal(unit_stats(&u).breaks_ahead, 0);
	}
	assert_int_equal(stream_shared(&u, ram, 0, STREAM_PAGES),
			 STREAM_PAGES - n);
	for (unsigned i = 0; i < n; i++)
		unit_assert_page(ram + pages[i] * TF_PAGE,
				 STREAM_FRESH(pages[i]));
	unit_close(&u);
}

/* Backwards is not a stream, nor is it lost. */
static void backward_writers_break_one_page_each(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = 300; i-- > 200;)
		stream_write(ram, i);
	assert_int_equal(unit_stats(&u).breaks, 100);
	assert_int_equal(unit_stats(&u).breaks_ahead, 0);
	unit_assert_run(ram + 200 * TF_PAGE, 100, STREAM_FRESH(200));
	stream_assert_untouched(ram, 0, 200);
	stream_assert_untouched(ram, 300, STREAM_PAGES);
	unit_close(&u);
}

/* A jump ends the stream; a new one begins with a page. */
static void a_jump_begins_anew(void **state)
{
	struct unit u;
	uint64_t before;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = 0; i < 31; i++) /* 1 + 2 + 4 + 8 + 16 */
		stream_write(ram, i);
	assert_int_equal(unit_breaks(&u), 31);
	before = unit_breaks(&u);
	stream_write(ram, 300);
	assert_int_equal(unit_breaks(&u), before + 1);
	stream_write(ram, 301);
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
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = border - 200; i < border; i++)
		stream_write(ram, i);
	/* Nothing is broken beyond the border before somebody writes there. */
	assert_int_equal(stream_shared(&u, ram, border, STREAM_PAGES),
			 STREAM_PAGES - border);
	assert_int_equal(unit_breaks(&u), 200);
	before = unit_stats(&u).breaks;
	stream_write(ram, border);
	assert_int_equal(unit_stats(&u).breaks, before + 1);
	assert_int_equal(unit_breaks(&u), 200 + STREAM_RUN);
	stream_assert_untouched(ram, border + 1, STREAM_PAGES);
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
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = border - 200; i < border; i++)
		stream_write(ram, i);
	stream_write(ram, border + 3);
	assert_int_equal(unit_breaks(&u), 200 + STREAM_RUN);
	assert_int_equal(stream_shared(&u, ram, border, border + 3), 3);
	stream_assert_untouched(ram, border, border + 3);
	unit_close(&u);
}

/* Every second page is shared: the others are the guest's, and stay. */
static void a_stream_with_gaps(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = STREAM_PAGES - 1; i < STREAM_PAGES;
	     i -= 2) /* downwards: odd */
		unit_fill(ram + i * TF_PAGE, 50000 + i);
	assert_int_equal(unit_stats(&u).breaks, STREAM_HALF);
	assert_int_equal(unit_stats(&u).breaks_ahead, 0);
	for (unsigned i = 0; i < STREAM_PAGES; i += 2)
		stream_write(ram, i);
	s = unit_stats(&u);
	assert_int_equal(s.breaks + s.breaks_ahead, STREAM_PAGES);
	assert_true(s.breaks - STREAM_HALF < STREAM_HALF / 10);
	assert_int_equal(s.chains, 0);
	for (unsigned i = 0; i < STREAM_PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 2 ? 50000 + i : STREAM_FRESH(i));
	unit_close(&u);
}

/* The writer that leaves out pages itself. */
static void a_writer_with_gaps(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = 0; i < STREAM_PAGES; i += 3)
		stream_write(ram, i);
	assert_true(unit_stats(&u).breaks < STREAM_PAGES / 3 / 10);
	for (unsigned i = 0; i < STREAM_PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 3 ? stream_merged(i) : STREAM_FRESH(i));
	unit_close(&u);
}

static void two_streams_do_not_disturb_each_other(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++) {
		stream_write(ram, i);
		stream_write(ram, 2 * TF_BLOCK_PAGES + i);
	}
	s = unit_stats(&u);
	assert_int_equal(s.breaks + s.breaks_ahead, 2 * TF_BLOCK_PAGES);
	assert_true(s.breaks < TF_BLOCK_PAGES / 10);
	unit_assert_run(ram, TF_BLOCK_PAGES, STREAM_FRESH(0));
	unit_assert_run(ram + 2 * TF_BLOCK_BYTES, TF_BLOCK_PAGES,
			STREAM_FRESH(2 * TF_BLOCK_PAGES));
	stream_assert_untouched(ram, TF_BLOCK_PAGES, 2 * TF_BLOCK_PAGES);
	stream_assert_untouched(ram, 3 * TF_BLOCK_PAGES, STREAM_PAGES);
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
		cmocka_unit_test(two_streams_do_not_disturb_each_other),
	};

	return unit_run(tests);
}
