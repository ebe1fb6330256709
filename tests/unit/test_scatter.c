/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scatter=ksm against the real KSM: which blocks it gets, and what it makes of
 * them. Changes KSM's settings for its duration and puts them back; skips
 * where KSM is missing, in use, or may not be set up.
 *
 * ctest-lock: ksm
 * ctest-timeout: 300
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/unit_scatter.h"

#define NO_EFFECT "scatter=ksm has no effect"

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
	unsigned long long merging;
	struct tf_stats st;

	scatter_init(&s);
	assert_int_equal(ksm_run(true), 0);
	s.u.opts.scan_mode = mode;
	scatter_open(&s);
	unit_slot(s.g, 0, 0, s.ram, SCATTER_PAGES * TF_PAGE);
	unit_passes(&s.u, 3);
	st = unit_stats(&s.u);
	assert_in_range(st.pages_handed, SCATTER_PAGES / 2, SCATTER_PAGES);
	assert_int_equal(st.pages_handed + st.pages_shared + st.pages_sharing +
				 st.pages_bridged,
			 SCATTER_PAGES);
	assert_int_equal(st.pages_refused, 0);
	assert_int_equal(st.pages_volatile + st.pages_unshared, 0);
	assert_in_range(st.vmas, 0, SCATTER_BUDGET);
	assert_true(scatter_mergeable(s.ram, SCATTER_PAGES * TF_PAGE) >=
		    st.pages_handed * TF_PAGE);
	c = scatter_after_full_scans();
	merging = c.sharing + c.shared; /* of all processes */
	if (!access("/proc/self/ksm_merging_pages", R_OK))
		merging = scatter_merging_pages();
	assert_in_range(merging, SCATTER_PAGES / 4, st.pages_handed);
	scatter_assert_contents(&s);
	assert_false(unit_log_has(&s.u, NO_EFFECT));
	scatter_end(&s);
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
	scatter_open_handed(&s);
	scatter_after_full_scans();
	for (unsigned i = 0; i < 4; i++) {
		struct tf_pass p = unit_pass(&s.u);

		assert_int_equal(p.pages_scanned + p.pages_hashed, 0);
		unit_fill(s.ram + i * TF_PAGE, 7000 + i);
	}
	for (unsigned i = 0; i < 4; i++)
		unit_assert_page(s.ram + i * TF_PAGE, 7000 + i);
	scatter_end(&s);
}

static void without_ksm_nothing_is_handed_over(void **state)
{
	struct scattered s;
	struct tf_pass p;

	(void)state;
	scatter_init(&s);
	scatter_open(&s);
	unit_slot(s.g, 0, 0, s.ram, SCATTER_PAGES * TF_PAGE);
	unit_passes(&s.u, 5);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_true(unit_stats(&s.u).pages_refused > SCATTER_PAGES / 4);
	assert_int_equal(scatter_mergeable(s.ram, SCATTER_PAGES * TF_PAGE), 0);
	assert_int_equal(log_count(&s.u, NO_EFFECT), 1);
	assert_true(unit_log_has(&s.u, "echo 1 > /sys/kernel/mm/ksm/run"));
	/* Once it runs, what was refused is handed over unread. */
	assert_int_equal(ksm_run(true), 0);
	p = unit_pass(&s.u);
	assert_int_equal(p.pages_hashed, 0);
	assert_true(unit_stats(&s.u).pages_handed > SCATTER_PAGES / 2);
	assert_int_equal(log_count(&s.u, NO_EFFECT), 1);
	assert_int_equal(ksm_run(false), 0);
	unit_passes(&s.u, 3);
	assert_int_equal(log_count(&s.u, NO_EFFECT), 2);
	scatter_assert_contents(&s);
	scatter_end(&s);
}

/* KSM reads all of a block: a few pages are not worth it. */
static void sparse_blocks_are_not_handed_over(void **state)
{
	struct scattered s;

	(void)state;
	scatter_init(&s);
	assert_int_equal(ksm_run(true), 0);
	scatter_open(&s);
	unit_fill_run(s.ram, SCATTER_PAGES, 500);
	for (unsigned i = 0; i < 24; i++) /* twelve contents, twice each */
		unit_fill(s.ram + 3 * i * TF_PAGE, 100 + i / 2);
	unit_slot(s.g, 0, 0, s.ram, SCATTER_PAGES * TF_PAGE);
	unit_passes(&s.u, 4);
	assert_true(unit_stats(&s.u).pages_refused > 0);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_int_equal(scatter_mergeable(s.ram, SCATTER_PAGES * TF_PAGE), 0);
	scatter_end(&s);
}

static void by_default_nothing_is_handed_over(void **state)
{
	struct scattered s;

	(void)state;
	scatter_init(&s);
	assert_int_equal(ksm_run(true), 0);
	s.u.opts.scatter = TF_SCATTER_OWN;
	scatter_open(&s);
	unit_slot(s.g, 0, 0, s.ram, SCATTER_PAGES * TF_PAGE);
	unit_passes(&s.u, 4);
	assert_int_equal(unit_stats(&s.u).pages_handed, 0);
	assert_true(unit_stats(&s.u).pages_refused > SCATTER_PAGES / 4);
	assert_int_equal(scatter_mergeable(s.ram, SCATTER_PAGES * TF_PAGE), 0);
	scatter_end(&s);
}

/* "They stay where they are, and are not merged": not by KSM either. */
static void pinned_pages_are_not_handed_over(void **state)
{
	struct scattered s;

	(void)state;
	scatter_init(&s);
	assert_int_equal(ksm_run(true), 0);
	scatter_open(&s);
	unit_slot(s.g, 0, 0, s.ram, SCATTER_PAGES * TF_PAGE);
	assert_int_equal(tf_guest_pin(s.g, 8 * TF_PAGE, TF_PAGE), 0);
	unit_passes(&s.u, 4);
	assert_int_equal(scatter_mergeable(s.ram + 8 * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(tf_guest_unpin(s.g, 8 * TF_PAGE, TF_PAGE), 0);
	scatter_end(&s);
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
		cmocka_unit_test(without_ksm_nothing_is_handed_over),
		cmocka_unit_test(sparse_blocks_are_not_handed_over),
		cmocka_unit_test(by_default_nothing_is_handed_over),
		cmocka_unit_test(pinned_pages_are_not_handed_over),
	};

	return scatter_run(tests);
}
