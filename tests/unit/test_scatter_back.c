/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks that scatter=ksm handed over to the real KSM: guests write to them,
 * break and discard their pages, and they come back. Changes KSM's settings
 * for its duration and puts them back; skips where KSM is missing, in use, or
 * may not be set up.
 *
 * ctest-lock: ksm
 * ctest-timeout: 300
 */
#include <sys/mman.h>

#include "lib/unit_scatter.h"

/* Nothing of KSM is left in [from, from + len). */
static void assert_taken_back(struct scattered *s, const char *from, size_t len)
{
	assert_int_equal(scatter_mergeable(from, len), 0);
	scatter_assert_contents(s);
	if (s->u.e)
		unit_check(&s->u);
}

static void guests_writes_into_them_are_kept(void **state)
{
	struct scattered s;

	(void)state;
	scatter_open_handed(&s);
	scatter_after_full_scans();
	for (unsigned i = 0; i < SCATTER_PAGES; i += 3)
		unit_fill(s.ram + i * TF_PAGE, 50000 + i % 7);
	unit_pass(&s.u);
	scatter_after_full_scans();
	for (unsigned i = 0; i < SCATTER_PAGES; i += 5)
		unit_fill(s.ram + i * TF_PAGE, 60000 + i);
	for (unsigned turn = 0; turn < 2; turn++) {
		for (unsigned i = 0; i < SCATTER_PAGES; i++)
			unit_assert_page(s.ram + i * TF_PAGE,
					 i % 5 == 0 ? 60000 + i :
					 i % 3 == 0 ? 50000 + i % 7 :
						      scatter_content(i));
		assert_int_equal(
			tf_guest_unmerge(s.g, 0, SCATTER_PAGES * TF_PAGE), 0);
	}
	scatter_end(&s);
}

/* Sharers of ours that lie in a handed block break as always. */
static void merged_frames_stay_ours(void **state)
{
	uint64_t sharers, broken = 0;
	bool ours[SCATTER_PAGES];
	struct scattered s;

	(void)state;
	scatter_open_handed(&s);
	scatter_after_full_scans();
	sharers = unit_guest_stats(s.g).pages_merged;
	assert_true(sharers > 0);
	sharers += unit_guest_stats(s.g).pages_bridged;
	for (unsigned i = 0; i < SCATTER_PAGES; i++) {
		ours[i] = unit_state(&s.u, s.ram + i * TF_PAGE) ==
			  TF_FRAME_SHARED;
		broken += ours[i];
	}
	assert_int_equal(broken, sharers);
	for (unsigned i = 0; i < SCATTER_PAGES; i++)
		if (ours[i])
			unit_fill(s.ram + i * TF_PAGE, scatter_content(i));
	assert_int_equal(unit_breaks(&s.u), sharers);
	unit_passes(&s.u, 2);
	scatter_assert_contents(&s);
	scatter_end(&s);
}

static void unmerging_takes_blocks_back(void **state)
{
	struct scattered s;

	(void)state;
	scatter_open_handed(&s);
	scatter_after_full_scans();
	/* One page: its block comes back, the other one does not. */
	assert_int_equal(tf_guest_unmerge(s.g, 9 * TF_PAGE, TF_PAGE), 0);
	assert_taken_back(&s, s.ram, TF_BLOCK_BYTES);
	assert_int_equal(unit_stats(&s.u).pages_handed, TF_BLOCK_PAGES);
	scatter_assert_unmerged(TF_BLOCK_PAGES);
	assert_int_equal(scatter_mergeable(s.ram + TF_BLOCK_BYTES,
					   TF_BLOCK_BYTES),
			 TF_BLOCK_BYTES);
	assert_int_equal(tf_guest_unmerge(s.g, 0, SCATTER_PAGES * TF_PAGE), 0);
	assert_taken_back(&s, s.ram, SCATTER_PAGES * TF_PAGE);
	scatter_assert_unmerged(0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_int_equal(unit_stats(&s.u).pages_sharing, 0);
	unit_passes(&s.u, 3); /* and they are handed over again */
	assert_true(unit_stats(&s.u).pages_handed > SCATTER_PAGES / 2);
	scatter_assert_contents(&s);
	scatter_end(&s);
}

static void pinning_takes_a_block_back(void **state)
{
	struct scattered s;

	(void)state;
	scatter_open_handed(&s);
	scatter_after_full_scans();
	assert_int_equal(
		tf_guest_pin(s.g, 8 * TF_PAGE, TF_BLOCK_PAGES * TF_PAGE), 0);
	assert_taken_back(&s, s.ram, SCATTER_PAGES * TF_PAGE);
	scatter_assert_unmerged(0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_int_equal(
		tf_guest_unpin(s.g, 8 * TF_PAGE, TF_BLOCK_PAGES * TF_PAGE), 0);
	scatter_end(&s);
}

static void a_deleted_memslot_is_taken_back(void **state)
{
	struct scattered s;

	(void)state;
	scatter_open_handed(&s);
	scatter_after_full_scans();
	assert_int_equal(tf_guest_del_memslot(s.g, 0), 0);
	assert_taken_back(&s, s.ram, SCATTER_PAGES * TF_PAGE);
	scatter_assert_unmerged(0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	unit_slot(s.g, 0, 0, s.ram, SCATTER_PAGES * TF_PAGE);
	unit_passes(&s.u, 2);
	assert_true(unit_stats(&s.u).pages_handed > SCATTER_PAGES / 2);
	scatter_end(&s);
}

static void destroying_takes_all_back(void **state)
{
	struct scattered s;

	(void)state;
	scatter_open_handed(&s);
	scatter_after_full_scans();
	tf_engine_destroy(s.u.e);
	s.u.e = NULL;
	assert_taken_back(&s, s.ram, SCATTER_PAGES * TF_PAGE);
	scatter_assert_unmerged(0);
	scatter_end(&s);
}

/* The guest's memory was KSM's before it was ours. */
static void what_was_mergeable_before_stays_so(void **state)
{
	const size_t bytes = SCATTER_PAGES * TF_PAGE;
	struct scattered s;

	(void)state;
	scatter_init(&s);
	scatter_open(&s);
	assert_int_equal(madvise(s.ram, bytes, MADV_MERGEABLE), 0);
	unit_slot(s.g, 0, 0, s.ram, bytes);
	assert_int_equal(ksm_run(true), 0);
	unit_passes(&s.u, 3);
	assert_true(unit_stats(&s.u).pages_handed > SCATTER_PAGES / 2);
	scatter_after_full_scans();
	assert_int_equal(tf_guest_unmerge(s.g, 0, bytes), 0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_int_equal(scatter_mergeable(s.ram, bytes), bytes);
	scatter_assert_contents(&s);
	unit_passes(&s.u, 3);
	assert_int_equal(tf_guest_del_memslot(s.g, 0), 0);
	assert_int_equal(scatter_mergeable(s.ram, bytes), bytes);
	scatter_assert_contents(&s);
	scatter_end(&s);
}

static void discarded_pages_read_as_zeros(void **state)
{
	struct scattered s;

	(void)state;
	scatter_open_handed(&s);
	scatter_after_full_scans();
	assert_int_equal(tf_guest_discard(s.g, 0, TF_BLOCK_BYTES), 0);
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
		unit_assert_page(s.ram + i * TF_PAGE, 0);
	for (unsigned i = TF_BLOCK_PAGES; i < SCATTER_PAGES; i++)
		unit_assert_page(s.ram + i * TF_PAGE, scatter_content(i));
	unit_check(&s.u);
	scatter_end(&s);
}

static void discarded_pages_are_not_counted(void **state)
{
	struct scattered s;
	uint64_t handed;

	(void)state;
	scatter_open_handed(&s);
	handed = unit_stats(&s.u).pages_handed;
	assert_int_equal(tf_guest_discard(s.g, TF_BLOCK_BYTES, TF_BLOCK_BYTES),
			 0);
	assert_int_equal(unit_stats(&s.u).pages_handed,
			 handed - TF_BLOCK_PAGES);
	scatter_end(&s);
}

/* A page that its guest broke is to be merged again by someone. */
static void frames_that_break_there_are_not_lost(void **state)
{
	struct scattered s;
	char *page;

	(void)state;
	scatter_open_handed(&s);
	page = s.ram; /* the first twins got the mappings there were */
	assert_int_equal(unit_state(&s.u, page), TF_FRAME_SHARED);
	unit_fill(page, scatter_content(0));
	unit_passes(&s.u, 10);
	assert_true(scatter_mergeable(page, TF_PAGE) ||
		    unit_state(&s.u, page) != TF_FRAME_NEW);
	scatter_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_writes_into_them_are_kept),
		cmocka_unit_test(merged_frames_stay_ours),
		cmocka_unit_test(unmerging_takes_blocks_back),
		cmocka_unit_test(pinning_takes_a_block_back),
		cmocka_unit_test(a_deleted_memslot_is_taken_back),
		cmocka_unit_test(destroying_takes_all_back),
		cmocka_unit_test(what_was_mergeable_before_stays_so),
		cmocka_unit_test(discarded_pages_read_as_zeros),
		cmocka_unit_test(discarded_pages_are_not_counted),
		cmocka_unit_test(frames_that_break_there_are_not_lost),
	};

	return scatter_run(tests);
}
