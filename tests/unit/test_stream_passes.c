/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Breaking ahead and passes: what nobody wrote in the end merges again, what
 * somebody wrote is seen, and both may happen at the same time.
 */
#include "lib/unit_stream.h"

static void what_was_broken_ahead_in_vain_merges_again(void **state)
{
	const unsigned stop = 300;
	struct tf_guest *g;
	struct unit u;
	unsigned ahead;
	char *ram;

	(void)state;
	g = unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = 0; i < stop; i++)
		stream_write(ram, i);
	ahead = (unsigned)unit_breaks(&u) - stop;
	assert_in_range(ahead, 1, STREAM_RUN - 1);
	assert_int_equal(stream_shared(&u, ram, stop, stop + ahead), 0);
	stream_assert_untouched(ram, stop, STREAM_PAGES);
	unit_passes(&u, 4);
	assert_int_equal(unit_guest_stats(g).pages_merged, STREAM_PAGES - stop);
	assert_int_equal(stream_shared(&u, ram, stop, STREAM_HALF),
			 STREAM_HALF - stop);
	stream_assert_untouched(ram, stop, STREAM_PAGES);
	unit_assert_run(ram, stop, STREAM_FRESH(0));
	stream_write(ram, stop); /* protected as before */
	unit_assert_page(ram + (stop + STREAM_HALF) * TF_PAGE,
			 stream_merged(stop));
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
	ram = unit_ram(&u, STREAM_PAGES * TF_PAGE);
	unit_slot(g, 0, 0, ram, STREAM_PAGES * TF_PAGE);
	unit_fill_run(ram, STREAM_HALF, 1);
	unit_fill_run(ram + STREAM_HALF * TF_PAGE, STREAM_HALF, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_guest_stats(g).pages_merged, STREAM_PAGES);
	for (unsigned i = 0; i < stop; i++)
		stream_write(ram, i);
	assert_true(unit_breaks(&u) > stop);
	unit_passes(&u, 20);
	assert_int_equal(stream_shared(&u, ram, stop, STREAM_HALF),
			 STREAM_HALF - stop);
	stream_assert_untouched(ram, stop, STREAM_PAGES);
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
		stream_write(w->ram, i);
	return NULL;
}

/* Two at the same time in one block, and passes meanwhile. */
static void streams_at_the_same_time(void **state)
{
	struct writer w[2];
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	for (unsigned i = 0; i < 2; i++) {
		w[i] = (struct writer){ .ram = ram, .from = 256 * i };
		w[i].to = i ? STREAM_PAGES : 256;
		assert_int_equal(pthread_create(&w[i].thread, NULL, writer_main,
						&w[i]),
				 0);
	}
	unit_passes(&u, 10);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(w[i].thread, NULL);
	unit_check(&u);
	unit_assert_run(ram, STREAM_PAGES, STREAM_FRESH(0));
	unit_passes(&u, 2);
	unit_assert_run(ram, STREAM_PAGES, STREAM_FRESH(0));
	unit_close(&u);
}

/* A page broken ahead is followed by the walker like any other. */
static void writes_to_what_was_broken_ahead_are_seen(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, STREAM_PAGES, &ram);
	stream_write(ram, 100);
	stream_write(ram, 101); /* and 102 ahead */
	assert_int_equal(unit_breaks(&u), 3);
	unit_passes(&u, 3);
	assert_int_equal(unit_state(&u, ram + 102 * TF_PAGE), TF_FRAME_SHARED);
	stream_write(ram, 200);
	stream_write(ram, 201);
	unit_pass(&u);
	stream_write(ram, 202); /* no fault */
	assert_int_equal(unit_breaks(&u), 6);
	assert_int_equal(unit_pass(&u).pages_volatile, 1);
	unit_assert_page(ram + 202 * TF_PAGE, STREAM_FRESH(202));
	unit_assert_page(ram + (202 + STREAM_HALF) * TF_PAGE,
			 stream_merged(202));
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_broken_ahead_in_vain_merges_again),
		cmocka_unit_test(smart_scan_merges_it_too),
		cmocka_unit_test(streams_at_the_same_time),
		cmocka_unit_test(writes_to_what_was_broken_ahead_are_seen),
	};

	return unit_run(tests);
}
