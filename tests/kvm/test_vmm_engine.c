/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checking workload with an engine under it: two guests share pages, both
 * find every byte right, their writes to shared pages break the sharing, and
 * a memslot can go away while the engine scans.
 *
 * ctest-timeout: 300
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/guests.h"

static void on_log(void *user, enum tf_log_level level, const char *line)
{
	(void)user;
	if (level <= TF_LOG_WARNING)
		fprintf(stderr, "engine: %s\n", line);
}

static struct tf_engine *new_engine(void)
{
	struct tf_engine *engine = NULL;
	struct tf_engine_opts opts;

	tf_engine_opts_init(&opts);
	opts.log = on_log;
	assert_int_equal(tf_engine_create(&opts, &engine), 0);
	return engine;
}

static void set_up(struct pair *p, enum tf_backend backend)
{
	const struct tf_work_opts work = { .backend = backend };

	*p = (struct pair){ .engine = new_engine() };
	pair_add(p, &work);
}

/* Common pages are 3 of 8, each content at 8 places of the two guests; zero
 * pages are 1 of 8. Most of them are to be shared. */
static struct tf_stats wait_for_sharing(struct pair *p)
{
	const uint64_t frames = PAIR * TF_WORK_MEM_MIN / TF_PAGE_SIZE;
	struct tf_stats s = pair_stats(p);

	for (int i = 0; i < PATIENCE_S * 20; i++) {
		s = pair_stats(p);
		if (s.pages_sharing >= frames / 4 &&
		    s.zero_pages >= frames / 16)
			return s;
		nap(50);
	}
	fail_msg("%d frames share, %d are zero, of %d", (int)s.pages_sharing,
		 (int)s.zero_pages, (int)frames);
	return s;
}

static void test_share_and_break(void **state)
{
	enum tf_backend backend = *(const enum tf_backend *)*state;
	struct tf_stats before, after;
	struct pair p;

	set_up(&p, backend);
	pair_go(&p, TF_WORK_FILL, 0);
	assert_int_equal(tf_engine_start(p.engine), 0);
	pair_go(&p, TF_WORK_RUN, 3);
	before = wait_for_sharing(&p);
	assert_true(before.pages_shared > 0);
	pair_go(&p, TF_WORK_OVERWRITE, 3);
	after = pair_stats(&p);
	assert_true(after.breaks + after.breaks_ahead >=
		    before.breaks + before.breaks_ahead +
			    PAIR * TF_WORK_MEM_MIN / TF_PAGE_SIZE / 8);
	assert_int_equal(tf_engine_stop(p.engine), 0);
	pair_close(&p);
}

/* The first guest goes away in the middle of everything; the second one,
 * which shared pages with it, still finds every byte. */
static void test_guest_goes_away(void **state)
{
	enum tf_backend backend = *(const enum tf_backend *)*state;
	struct tf_work_report r = { .size = sizeof(r) };
	struct pair p;

	set_up(&p, backend);
	pair_go(&p, TF_WORK_FILL, 0);
	assert_int_equal(tf_engine_start(p.engine), 0);
	pair_go(&p, TF_WORK_RUN, 1);
	wait_for_sharing(&p);
	tf_work_destroy(p.work[0]);
	tf_guest_destroy(p.guest[0]);
	p.work[0] = NULL;
	p.guest[0] = NULL;
	assert_int_equal(tf_work_report(p.work[1], &r), 0);
	for (uint64_t target = r.rounds[TF_WORK_RUN] + 2;
	     r.rounds[TF_WORK_RUN] < target && !r.failures && !r.died; nap(20))
		assert_int_equal(tf_work_report(p.work[1], &r), 0);
	assert_int_equal(r.failures, 0);
	assert_int_equal(r.died, 0);
	pair_close(&p);
}

static enum tf_backend kvm = TF_BACKEND_KVM;
static enum tf_backend thread = TF_BACKEND_THREAD;

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(test_share_and_break, &thread),
		cmocka_unit_test_prestate(test_guest_goes_away, &thread),
		cmocka_unit_test_prestate(test_share_and_break, &kvm),
		cmocka_unit_test_prestate(test_guest_goes_away, &kvm),
	};

	if (!has_kvm() || !has_merging())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
