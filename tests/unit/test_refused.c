/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of the frames that got no mapping: they are counted and not
 * hashed again, until somebody writes to them or takes them away.
 */
#include "lib/unit_refused.h"

static void open_seven(struct unit *u, struct tf_guest **g, char **ram)
{
	refused_open(u, 1);
	*g = refused_seven(u, ram);
	assert_int_equal(refused_count(u), 7);
}

static void refused_frames_and_their_candidates_are_counted(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	open_seven(&u, &g, &ram);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(refused_at(&u, ram + i * TF_PAGE), i < 7);
		assert_int_equal(unit_state(&u, ram + i * TF_PAGE),
				 i < 3 || i > 6 ? TF_FRAME_CANDIDATE :
						  TF_FRAME_NEW);
	}
	assert_int_equal(unit_stats(&u).budget_refused, 4);
	assert_int_equal(unit_stats(&u).pages_sharing, 0);
	assert_int_equal(unit_stats(&u).vmas, 0);
	unit_close(&u);
}

static void refused_frames_are_not_hashed_again(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	open_seven(&u, &g, &ram);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(unit_pass(&u).pages_hashed, 0);
		assert_int_equal(refused_count(&u), 7);
	}
	assert_int_equal(unit_stats(&u).pages_volatile, 0);
	assert_int_equal(unit_stats(&u).budget_refused, 4);
	unit_close(&u);
}

static void a_write_takes_a_frame_out(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	open_seven(&u, &g, &ram);
	unit_fill(ram + 6 * TF_PAGE, 60);
	assert_int_equal(unit_pass(&u).pages_volatile, 1);
	assert_false(refused_at(&u, ram + 6 * TF_PAGE));
	assert_int_equal(refused_count(&u), 6);
	unit_fill(ram, 61); /* a candidate that others wait for */
	unit_pass(&u);
	assert_false(refused_at(&u, ram));
	assert_int_equal(refused_count(&u), 5);
	unit_pass(&u);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	assert_int_equal(unit_state(&u, ram + 6 * TF_PAGE), TF_FRAME_CANDIDATE);
	assert_int_equal(refused_count(&u), 5);
	unit_close(&u);
}

/* Written, but with the bytes it had: it is refused again. */
static void a_rewritten_frame_is_refused_again(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	open_seven(&u, &g, &ram);
	unit_fill(ram + 4 * TF_PAGE, 2);
	unit_pass(&u);
	assert_int_equal(refused_count(&u), 6);
	assert_int_equal(unit_pass(&u).pages_hashed, 1);
	assert_int_equal(refused_count(&u), 7);
	unit_close(&u);
}

static void a_discard_takes_frames_out(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	open_seven(&u, &g, &ram);
	assert_int_equal(tf_guest_discard(g, 5 * TF_PAGE, 2 * TF_PAGE), 0);
	assert_int_equal(refused_count(&u), 5);
	assert_int_equal(tf_guest_discard(g, 0, TF_PAGE), 0);
	assert_int_equal(refused_count(&u), 4);
	assert_int_equal(tf_guest_discard(g, 0, 10 * TF_PAGE), 0);
	assert_int_equal(refused_count(&u), 0);
	unit_passes(&u, 2);
	assert_int_equal(refused_count(&u), 0);
	unit_assert_page(ram + 6 * TF_PAGE, 0);
	unit_close(&u);
}

static void a_memslot_takes_its_frames_along(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	open_seven(&u, &g, &ram);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_int_equal(refused_count(&u), 0);
	unit_slot(g, 0, 0, ram, TF_BLOCK_BYTES);
	unit_passes(&u, 2);
	assert_int_equal(refused_count(&u), 7);
	tf_guest_destroy(g);
	assert_int_equal(refused_count(&u), 0);
	unit_close(&u);
}

/* They are private already; they would merge again all the same. */
static void unmerging_leaves_refused_frames_alone(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	open_seven(&u, &g, &ram);
	assert_int_equal(tf_guest_unmerge(g, 0, TF_BLOCK_BYTES), 0);
	assert_int_equal(refused_count(&u), 7);
	assert_int_equal(unit_pass(&u).pages_hashed, 0);
	unit_assert_page(ram + 6 * TF_PAGE, 1);
	unit_close(&u);
}

/* Every pass reads every page in this mode; the count is the same. */
static void they_are_counted_without_tracking_too(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.vma_budget = 1;
	u.opts.scan_mode = TF_SCAN_HASH;
	unit_open(&u);
	g = refused_seven(&u, &ram);
	for (unsigned i = 0; i < 4; i++) {
		unit_pass(&u);
		assert_int_equal(refused_count(&u), 7);
	}
	assert_int_equal(unit_stats(&u).pages_sharing, 0);
	unit_fill(ram + 6 * TF_PAGE, 60);
	unit_pass(&u);
	assert_false(refused_at(&u, ram + 6 * TF_PAGE));
	assert_int_equal(tf_guest_discard(g, 4 * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(refused_count(&u), 5);
	unit_passes(&u, 3);
	assert_int_equal(refused_count(&u), 5);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_int_equal(refused_count(&u), 0);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			refused_frames_and_their_candidates_are_counted),
		cmocka_unit_test(refused_frames_are_not_hashed_again),
		cmocka_unit_test(a_write_takes_a_frame_out),
		cmocka_unit_test(a_rewritten_frame_is_refused_again),
		cmocka_unit_test(a_discard_takes_frames_out),
		cmocka_unit_test(a_memslot_takes_its_frames_along),
		cmocka_unit_test(unmerging_leaves_refused_frames_alone),
		cmocka_unit_test(they_are_counted_without_tracking_too),
	};

	return unit_run(tests);
}
