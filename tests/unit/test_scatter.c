/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scatter=ksm against the real KSM: which blocks it gets, what it makes of
 * them, and how they come back. Changes KSM's settings for its duration and
 * puts them back; skips where KSM is missing, in use, or may not be set up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/unit_world.h"

/* Settings are changed as `twinfold bench` does it, and under its lock. */
#include "agent/knob.c"
#include "agent/ksm.c"

#define BUDGET 64u
#define PAGES (2 * TF_BLOCK_PAGES)
#define CONTENTS 32u
#define NO_EFFECT "scatter=ksm has no effect"

static const char *why_not; /* KSM cannot be used, or NULL */

struct scattered {
	struct unit u;
	struct tf_guest *g;
	char *ram;
};

/* Once for all cases. */
static int take_ksm(void **state)
{
	int err = ksm_usable(&why_not);

	(void)state;
	if (err)
		return 0;
	err = knob_guard();
	why_not = err ? "another process changes KSM's settings now" : NULL;
	if (!err && ksm_setup(false))
		why_not = "KSM's settings cannot be changed";
	return 0;
}

static int give_ksm_back(void **state)
{
	(void)state;
	knob_restore();
	return 0;
}

/* Every other page has one of a few contents; the others are unique. */
static uint64_t content(unsigned page)
{
	return page % 2 ? 100000 + page : 1 + page / 2 % CONTENTS;
}

static void assert_contents(const struct scattered *s)
{
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(s->ram + i * TF_PAGE, content(i));
}

static void init(struct scattered *s)
{
	if (why_not)
		unit_skip(why_not);
	assert_int_equal(ksm_clear(), 0);
	*s = (struct scattered){ 0 };
	unit_init(&s->u);
	s->u.opts.vma_budget = BUDGET;
	s->u.opts.scatter = TF_SCATTER_KSM;
	s->u.opts.smart_scan = 0;
}

static void open_filled(struct scattered *s)
{
	unit_open(&s->u);
	s->g = unit_guest(&s->u, NULL);
	s->ram = unit_ram(&s->u, PAGES * TF_PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(s->ram + i * TF_PAGE, content(i));
}

/* KSM runs, and two dense blocks are handed over. */
static void open_handed(struct scattered *s)
{
	init(s);
	assert_int_equal(ksm_run(true), 0);
	open_filled(s);
	unit_slot(s->g, 0, 0, s->ram, PAGES * TF_PAGE);
	unit_passes(&s->u, 2);
	assert_true(unit_stats(&s->u).pages_handed > PAGES / 2);
}

static void end(struct scattered *s)
{
	unit_close(&s->u);
	assert_int_equal(ksm_clear(), 0);
}

/* KSM has looked at every page often enough to merge it. */
static struct ksm_counts after_full_scans(void)
{
	struct ksm_counts c;
	uint64_t until;

	assert_int_equal(ksm_counts(&c), 0);
	until = c.full_scans + 4;
	for (int i = 0; i < 3000 && c.full_scans < until; i++) {
		usleep(10000);
		assert_int_equal(ksm_counts(&c), 0);
	}
	assert_true(c.full_scans >= until);
	return c;
}

/* Bytes of [from, from + len) that are KSM's to merge. */
static size_t mergeable(const char *from, size_t len)
{
	unsigned long lo = (uintptr_t)from, hi = lo + len, a, b;
	unsigned long start = 0, stop = 0;
	char *text, *save = NULL;
	size_t bytes = 0;

	assert_int_equal(tf_os_linux.read_file(&tf_os_linux, "/proc/self/smaps",
					       &text),
			 0);
	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
			start = a > lo ? a : lo;
			stop = b < hi ? b : hi;
		}
		if (!strncmp(line, "VmFlags:", 8) && strstr(line, " mg") &&
		    start < stop)
			bytes += stop - start;
	}
	free(text);
	return bytes;
}

/* Pages of this process that KSM merged; 0 also where no file tells. */
static unsigned long long merging_pages(void)
{
	unsigned long long n = 0;

	knob_read_u64("/proc/self/ksm_merging_pages", &n);
	return n;
}

/* Nothing of KSM is left in [from, from + len). */
static void assert_taken_back(struct scattered *s, const char *from, size_t len)
{
	assert_int_equal(mergeable(from, len), 0);
	assert_contents(s);
	if (s->u.e)
		unit_check(&s->u);
}

static unsigned log_count(struct unit *u, const char *words)
{
	unsigned n = 0;

	pthread_mutex_lock(&u->log.lock);
	for (const char *p = u->log.text; (p = strstr(p, words)); p++)
		n++;
	pthread_mutex_unlock(&u->log.lock);
	return n;
}

static void dense_blocks_are_handed_over(enum tf_scan_mode mode)
{
	struct ksm_counts c;
	struct scattered s;
	struct tf_stats st;

	init(&s);
	assert_int_equal(ksm_run(true), 0);
	s.u.opts.scan_mode = mode;
	open_filled(&s);
	unit_slot(s.g, 0, 0, s.ram, PAGES * TF_PAGE);
	unit_passes(&s.u, 3);
	st = unit_stats(&s.u);
	assert_in_range(st.pages_handed, PAGES / 2, PAGES);
	assert_int_equal(st.pages_handed + st.pages_shared + st.pages_sharing,
			 PAGES);
	assert_int_equal(st.pages_refused, 0);
	assert_int_equal(st.pages_volatile + st.pages_unshared, 0);
	assert_in_range(st.vmas, 0, BUDGET);
	assert_true(mergeable(s.ram, PAGES * TF_PAGE) >=
		    st.pages_handed * TF_PAGE);
	c = after_full_scans();
	assert_true(c.sharing + c.shared > PAGES / 4);
	if (!access("/proc/self/ksm_merging_pages", R_OK))
		assert_int_equal(merging_pages(), c.sharing + c.shared);
	assert_contents(&s);
	assert_false(unit_log_has(&s.u, NO_EFFECT));
	end(&s);
}

static void ksm_merges_what_no_mapping_is_left_for(void **state)
{
	(void)state;
	dense_blocks_are_handed_over(TF_SCAN_AUTO);
}

static void also_without_write_tracking(void **state)
{
	(void)state;
	dense_blocks_are_handed_over(TF_SCAN_HASH);
}

static void handed_blocks_cost_no_more_passes(void **state)
{
	struct scattered s;

	(void)state;
	open_handed(&s);
	after_full_scans();
	for (unsigned i = 0; i < 4; i++) {
		struct tf_pass p = unit_pass(&s.u);

		assert_int_equal(p.pages_scanned + p.pages_hashed, 0);
		unit_fill(s.ram + i * TF_PAGE, 7000 + i);
	}
	for (unsigned i = 0; i < 4; i++)
		unit_assert_page(s.ram + i * TF_PAGE, 7000 + i);
	end(&s);
}

static void guests_writes_into_them_are_kept(void **state)
{
	struct scattered s;

	(void)state;
	open_handed(&s);
	after_full_scans();
	for (unsigned i = 0; i < PAGES; i += 3)
		unit_fill(s.ram + i * TF_PAGE, 50000 + i % 7);
	unit_pass(&s.u);
	after_full_scans();
	for (unsigned i = 0; i < PAGES; i += 5)
		unit_fill(s.ram + i * TF_PAGE, 60000 + i);
	for (unsigned turn = 0; turn < 2; turn++) {
		for (unsigned i = 0; i < PAGES; i++)
			unit_assert_page(s.ram + i * TF_PAGE,
					 i % 5 == 0 ? 60000 + i :
					 i % 3 == 0 ? 50000 + i % 7 :
						      content(i));
		assert_int_equal(tf_guest_unmerge(s.g, 0, PAGES * TF_PAGE), 0);
	}
	end(&s);
}

/* Sharers of ours that lie in a handed block break as always. */
static void merged_frames_stay_ours(void **state)
{
	uint64_t sharers, broken = 0;
	struct scattered s;

	(void)state;
	open_handed(&s);
	after_full_scans();
	sharers = unit_guest_stats(s.g).pages_merged;
	assert_true(sharers > 0);
	for (unsigned i = 0; i < PAGES; i++) {
		if (unit_state(&s.u, s.ram + i * TF_PAGE) != TF_FRAME_SHARED)
			continue;
		unit_fill(s.ram + i * TF_PAGE, content(i));
		broken++;
	}
	assert_int_equal(broken, sharers);
	assert_int_equal(unit_breaks(&s.u), sharers);
	unit_passes(&s.u, 2);
	assert_contents(&s);
	end(&s);
}

static void unmerging_takes_blocks_back(void **state)
{
	struct scattered s;

	(void)state;
	open_handed(&s);
	after_full_scans();
	/* One page: its block comes back, the other one does not. */
	assert_int_equal(tf_guest_unmerge(s.g, 9 * TF_PAGE, TF_PAGE), 0);
	assert_taken_back(&s, s.ram, TF_BLOCK_BYTES);
	assert_int_equal(unit_stats(&s.u).pages_handed, TF_BLOCK_PAGES);
	assert_true(merging_pages() <= TF_BLOCK_PAGES);
	assert_int_equal(mergeable(s.ram + TF_BLOCK_BYTES, TF_BLOCK_BYTES),
			 TF_BLOCK_BYTES);
	assert_int_equal(tf_guest_unmerge(s.g, 0, PAGES * TF_PAGE), 0);
	assert_taken_back(&s, s.ram, PAGES * TF_PAGE);
	assert_int_equal(merging_pages(), 0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_int_equal(unit_stats(&s.u).pages_sharing, 0);
	unit_passes(&s.u, 3); /* and they are handed over again */
	assert_true(unit_stats(&s.u).pages_handed > PAGES / 2);
	assert_contents(&s);
	end(&s);
}

static void pinning_takes_a_block_back(void **state)
{
	struct scattered s;

	(void)state;
	open_handed(&s);
	after_full_scans();
	assert_int_equal(
		tf_guest_pin(s.g, 8 * TF_PAGE, TF_BLOCK_PAGES * TF_PAGE), 0);
	assert_taken_back(&s, s.ram, PAGES * TF_PAGE);
	assert_int_equal(merging_pages(), 0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_int_equal(
		tf_guest_unpin(s.g, 8 * TF_PAGE, TF_BLOCK_PAGES * TF_PAGE), 0);
	end(&s);
}

static void a_deleted_memslot_is_taken_back(void **state)
{
	struct scattered s;

	(void)state;
	open_handed(&s);
	after_full_scans();
	assert_int_equal(tf_guest_del_memslot(s.g, 0), 0);
	assert_taken_back(&s, s.ram, PAGES * TF_PAGE);
	assert_int_equal(merging_pages(), 0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	unit_slot(s.g, 0, 0, s.ram, PAGES * TF_PAGE);
	unit_passes(&s.u, 2);
	assert_true(unit_stats(&s.u).pages_handed > PAGES / 2);
	end(&s);
}

static void destroying_takes_all_back(void **state)
{
	struct scattered s;

	(void)state;
	open_handed(&s);
	after_full_scans();
	tf_engine_destroy(s.u.e);
	s.u.e = NULL;
	assert_taken_back(&s, s.ram, PAGES * TF_PAGE);
	assert_int_equal(merging_pages(), 0);
	end(&s);
}

static void without_ksm_nothing_is_handed_over(void **state)
{
	struct scattered s;
	struct tf_pass p;

	(void)state;
	init(&s);
	open_filled(&s);
	unit_slot(s.g, 0, 0, s.ram, PAGES * TF_PAGE);
	unit_passes(&s.u, 5);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_true(unit_stats(&s.u).pages_refused > PAGES / 4);
	assert_int_equal(mergeable(s.ram, PAGES * TF_PAGE), 0);
	assert_int_equal(log_count(&s.u, NO_EFFECT), 1);
	assert_true(unit_log_has(&s.u, "echo 1 > /sys/kernel/mm/ksm/run"));
	/* Once it runs, what was refused is handed over unread. */
	assert_int_equal(ksm_run(true), 0);
	p = unit_pass(&s.u);
	assert_int_equal(p.pages_hashed, 0);
	assert_true(unit_stats(&s.u).pages_handed > PAGES / 2);
	assert_int_equal(log_count(&s.u, NO_EFFECT), 1);
	assert_int_equal(ksm_run(false), 0);
	unit_passes(&s.u, 3);
	assert_int_equal(log_count(&s.u, NO_EFFECT), 2);
	assert_contents(&s);
	end(&s);
}

/* The guest's memory was KSM's before it was ours. */
static void what_was_mergeable_before_stays_so(void **state)
{
	const size_t bytes = PAGES * TF_PAGE;
	struct scattered s;

	(void)state;
	init(&s);
	open_filled(&s);
	assert_int_equal(madvise(s.ram, bytes, MADV_MERGEABLE), 0);
	unit_slot(s.g, 0, 0, s.ram, bytes);
	assert_int_equal(ksm_run(true), 0);
	unit_passes(&s.u, 3);
	assert_true(unit_stats(&s.u).pages_handed > PAGES / 2);
	after_full_scans();
	assert_int_equal(tf_guest_unmerge(s.g, 0, bytes), 0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_int_equal(mergeable(s.ram, bytes), bytes);
	assert_contents(&s);
	unit_passes(&s.u, 3);
	assert_int_equal(tf_guest_del_memslot(s.g, 0), 0);
	assert_int_equal(mergeable(s.ram, bytes), bytes);
	assert_contents(&s);
	end(&s);
}

/* KSM reads all of a block: a few pages are not worth it. */
static void sparse_blocks_are_not_handed_over(void **state)
{
	struct scattered s;

	(void)state;
	init(&s);
	assert_int_equal(ksm_run(true), 0);
	open_filled(&s);
	unit_fill_run(s.ram, PAGES, 500);
	for (unsigned i = 0; i < 24; i++) /* twelve contents, twice each */
		unit_fill(s.ram + 3 * i * TF_PAGE, 100 + i / 2);
	unit_slot(s.g, 0, 0, s.ram, PAGES * TF_PAGE);
	unit_passes(&s.u, 4);
	assert_true(unit_stats(&s.u).pages_refused > 0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_int_equal(mergeable(s.ram, PAGES * TF_PAGE), 0);
	end(&s);
}

static void by_default_nothing_is_handed_over(void **state)
{
	struct scattered s;

	(void)state;
	init(&s);
	assert_int_equal(ksm_run(true), 0);
	s.u.opts.scatter = TF_SCATTER_OWN;
	open_filled(&s);
	unit_slot(s.g, 0, 0, s.ram, PAGES * TF_PAGE);
	unit_passes(&s.u, 4);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_true(unit_stats(&s.u).pages_refused > PAGES / 4);
	assert_int_equal(mergeable(s.ram, PAGES * TF_PAGE), 0);
	end(&s);
}

static void discarded_pages_read_as_zeros(void **state)
{
	struct scattered s;

	(void)state;
	open_handed(&s);
	after_full_scans();
	assert_int_equal(tf_guest_discard(s.g, 0, TF_BLOCK_BYTES), 0);
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
		unit_assert_page(s.ram + i * TF_PAGE, 0);
	for (unsigned i = TF_BLOCK_PAGES; i < PAGES; i++)
		unit_assert_page(s.ram + i * TF_PAGE, content(i));
	unit_check(&s.u);
	end(&s);
}

static void discarded_pages_are_not_counted(void **state)
{
	struct scattered s;
	uint64_t handed;

	(void)state;
	open_handed(&s);
	handed = unit_stats(&s.u).pages_handed;
	assert_int_equal(tf_guest_discard(s.g, TF_BLOCK_BYTES, TF_BLOCK_BYTES),
			 0);
	assert_int_equal(unit_stats(&s.u).pages_handed,
			 handed - TF_BLOCK_PAGES);
	end(&s);
}

/* A page that its guest broke is to be merged again by someone. */
static void frames_that_break_there_are_not_lost(void **state)
{
	struct scattered s;
	char *page;

	(void)state;
	open_handed(&s);
	page = s.ram; /* the first twins got the mappings there were */
	assert_int_equal(unit_state(&s.u, page), TF_FRAME_SHARED);
	unit_fill(page, content(0));
	unit_passes(&s.u, 10);
	assert_true(mergeable(page, TF_PAGE) ||
		    unit_state(&s.u, page) != TF_FRAME_NEW);
	end(&s);
}

/* "They stay where they are, and are not merged": not by KSM either. */
static void pinned_pages_are_not_handed_over(void **state)
{
	struct scattered s;

	(void)state;
	init(&s);
	assert_int_equal(ksm_run(true), 0);
	open_filled(&s);
	unit_slot(s.g, 0, 0, s.ram, PAGES * TF_PAGE);
	assert_int_equal(tf_guest_pin(s.g, 8 * TF_PAGE, TF_PAGE), 0);
	unit_passes(&s.u, 4);
	assert_int_equal(mergeable(s.ram + 8 * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(tf_guest_unpin(s.g, 8 * TF_PAGE, TF_PAGE), 0);
	end(&s);
}

static void a_bad_value_is_refused(void **state)
{
	struct unit u;

	(void)state;
	for (int i = 0; i < 2; i++) {
		unit_init(&u);
		u.opts.scatter = (enum tf_scatter)(i ? -1 : 2);
		assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e),
				 -EINVAL);
		assert_true(unit_log_has(&u, "scatter is out of range"));
		assert_true(unit_log_has(&u, "TF_SCATTER_"));
		u.e = NULL;
		unit_close(&u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bad_value_is_refused),
		cmocka_unit_test(ksm_merges_what_no_mapping_is_left_for),
		cmocka_unit_test(also_without_write_tracking),
		cmocka_unit_test(handed_blocks_cost_no_more_passes),
		cmocka_unit_test(guests_writes_into_them_are_kept),
		cmocka_unit_test(merged_frames_stay_ours),
		cmocka_unit_test(unmerging_takes_blocks_back),
		cmocka_unit_test(pinning_takes_a_block_back),
		cmocka_unit_test(a_deleted_memslot_is_taken_back),
		cmocka_unit_test(destroying_takes_all_back),
		cmocka_unit_test(without_ksm_nothing_is_handed_over),
		cmocka_unit_test(what_was_mergeable_before_stays_so),
		cmocka_unit_test(sparse_blocks_are_not_handed_over),
		cmocka_unit_test(by_default_nothing_is_handed_over),
		cmocka_unit_test(discarded_pages_read_as_zeros),
		cmocka_unit_test(discarded_pages_are_not_counted),
		cmocka_unit_test(frames_that_break_there_are_not_lost),
		cmocka_unit_test(pinned_pages_are_not_handed_over),
	};

	unit_warm_up();
	return cmocka_run_group_tests(tests, take_ksm, give_ksm_back);
}
