/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Breaking ahead where mappings fail, of a run or of a page: the writer goes
 * on, the kernel copies what cannot be broken, and no byte is lost.
 */
#include <errno.h>
#include <sys/mman.h>

#include "lib/unit_stream.h"

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
	unit_assert_run(ram, STREAM_PAGES, STREAM_FRESH(0));
	unit_wrap(u, remap_over, tf_os_linux.remap_over);
	unit_passes(u, 2);
	unit_assert_run(ram, STREAM_PAGES, STREAM_FRESH(0));
}

/* No break works at all: the kernel copies each page for its writer. */
static void without_memory_the_kernel_copies(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	unmaps = false;
	failing = ~0u;
	for (unsigned i = 0; i < 300; i++) {
		stream_write(ram, i);
		unit_assert_page(ram + i * TF_PAGE, STREAM_FRESH(i));
	}
	unit_check(&u);
	assert_int_equal(unit_stats(&u).breaks, 300);
	assert_int_equal(unit_stats(&u).breaks_ahead, 0);
	assert_int_equal(unit_stats(&u).pages_cow, 300);
	stream_assert_untouched(ram, 300, STREAM_PAGES);
	failing = 0;
	for (unsigned i = 300; i < STREAM_PAGES; i++)
		stream_write(ram, i);
	assert_true(unit_stats(&u).breaks < 300 + STREAM_PAGES / 10);
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
	unit_merged(&u, STREAM_PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	unmaps = false;
	for (unsigned i = 0; i < 31; i++)
		stream_write(ram, i);
	before = unit_breaks(&u);
	failing = 1;
	stream_write(ram, 31);
	assert_int_equal(failing, 0);
	assert_int_equal(unit_breaks(&u), before + 1);
	assert_int_equal(unit_stats(&u).pages_cow, 0);
	assert_int_equal(stream_shared(&u, ram, 32, STREAM_PAGES),
			 STREAM_PAGES - 32);
	for (unsigned i = 32; i < STREAM_PAGES; i++)
		stream_write(ram, i);
	assert_int_equal(unit_breaks(&u), STREAM_PAGES);
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

		unit_merged(&u, STREAM_PAGES, &ram);
		unit_wrap(&u, remap_over, remap_fails);
		unmaps = how;
		for (unsigned i = 0; i < STREAM_PAGES; i++) {
			if (i % 37 == 0)
				failing = 1 + i % 3;
			stream_write(ram, i);
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
	unit_merged(&u, STREAM_PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	unmaps = false;
	for (unsigned i = 500; i-- > 0;)
		if (i % 2)
			unit_fill(ram + i * TF_PAGE, 50000 + i);
	for (unsigned i = 0; i < 500; i += 2) {
		stream_write(ram, i);
		if (i % 50 == 0)
			failing = 1;
	}
	failing = 0;
	unit_check(&u);
	for (unsigned i = 0; i < 500; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 2 ? 50000 + i : STREAM_FRESH(i));
	stream_assert_untouched(ram, 500, STREAM_PAGES);
	unit_wrap(&u, remap_over, tf_os_linux.remap_over);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_memory_the_kernel_copies),
		cmocka_unit_test(a_run_that_fails_breaks_its_first_page),
		cmocka_unit_test(a_writer_goes_on_whatever_fails),
		cmocka_unit_test(gaps_that_fail_are_left),
	};

	return unit_run(tests);
}
