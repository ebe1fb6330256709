/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Booking: after each function frame, dup and counters agree. */
#include "engine/book.h"

#include "engine/chain.h"
#include "engine/mapping.h"
#include "lib/unit_world.h"

#define PAGES 16u

static void cow_gives_the_place_up_and_keeps_the_slot(void **state)
{
	struct unit_spot s;
	struct tf_dup *d;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	s = unit_spot(&u, ram);
	pthread_mutex_lock(&u.e->lock);
	d = tf_dup_get(u.e, s.f->shared.dup);
	tf_book_cow(s.b, s.page);
	assert_int_equal(s.f->state, TF_FRAME_COW);
	assert_ptr_equal(tf_dup_get(u.e, s.f->shared.dup), d);
	assert_int_equal(d->nsharers, 1);
	assert_int_equal(d->spans, 1);
	assert_false(tf_bit(&s.b->pending, s.page));
	tf_count_vmas(s.b);
	pthread_mutex_unlock(&u.e->lock);
	unit_check(&u);
	ram[0]++;
	ram[0]--;
	unit_assert_page(ram, 1);
	unit_assert_page(ram + PAGES / 2 * TF_PAGE, 1);
	unit_close(&u);
}

/* What the walker reported before a merge must not undo the merge. */
static void a_merged_frame_ignores_old_writes(void **state)
{
	struct unit_spot s;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	s = unit_spot(&u, ram);
	pthread_mutex_lock(&u.e->lock);
	tf_book_written(s.b, s.page);
	assert_int_equal(s.f->state, TF_FRAME_SHARED);
	pthread_mutex_unlock(&u.e->lock);
	unit_check(&u);
	unit_close(&u);
}

static void written_frames_start_again(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 0);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	assert_int_equal(unit_state(&u, ram + TF_PAGE), TF_FRAME_ZERO);
	pthread_mutex_lock(&u.e->lock);
	for (unsigned i = 0; i < 2; i++)
		tf_book_written(u.e->regions[0]->dirs[0]->blocks[0], i);
	assert_int_equal(u.e->n.zero + u.e->n.candidates, 0);
	pthread_mutex_unlock(&u.e->lock);
	unit_assert_fresh(&u, ram);
	unit_assert_fresh(&u, ram + TF_PAGE);
	unit_check(&u);
	unit_close(&u);
}

static void holes_are_no_frames(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_passes(&u, 2);
	assert_int_equal(tf_guest_discard(g, 0, TF_PAGE), 0);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_NONE);
	assert_int_equal(unit_stats(&u).pages_unshared, 0);
	assert_int_equal(unit_guest_stats(g).pages_seen, 0);
	unit_check(&u);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cow_gives_the_place_up_and_keeps_the_slot),
		cmocka_unit_test(a_merged_frame_ignores_old_writes),
		cmocka_unit_test(written_frames_start_again),
		cmocka_unit_test(holes_are_no_frames),
	};

	return unit_run(tests);
}
