/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checking workload with an engine under it: two guests share pages, both
 * find every byte right, their writes to shared pages break the sharing, and
 * a memslot can go away while the engine scans.
 *
 * ctest-timeout: 300
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "twinfold/twinfold.h"
#include "twinfold/vmm.h"

#define GUESTS 2
#define PATIENCE_S 120

struct world {
	struct tf_engine *engine;
	struct tf_guest *guest[GUESTS];
	struct tf_work *work[GUESTS];
};

static void nap(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

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

static struct tf_stats stats_of(struct world *w)
{
	struct tf_stats s = { .size = sizeof(s) };

	assert_int_equal(tf_engine_stats(w->engine, &s), 0);
	return s;
}

static void add_guest(struct world *w, unsigned n, enum tf_backend backend)
{
	struct tf_guest_opts guest = {
		.size = sizeof(guest),
		.trust_domain = "test",
	};
	struct tf_work_opts work = {
		.size = sizeof(work),
		.backend = backend,
		.id = n + 1,
		.bytes = TF_WORK_MEM_MIN,
	};

	assert_int_equal(tf_guest_create(w->engine, &guest, &w->guest[n]), 0);
	work.guest = w->guest[n];
	assert_int_equal(tf_work_create(&work, &w->work[n]), 0);
	assert_int_equal(tf_work_start(w->work[n]), 0);
}

static void set_up(struct world *w, enum tf_backend backend)
{
	memset(w, 0, sizeof(*w));
	w->engine = new_engine();
	for (unsigned n = 0; n < GUESTS; n++)
		add_guest(w, n, backend);
}

static void tear_down(struct world *w)
{
	for (unsigned n = 0; n < GUESTS; n++) {
		tf_work_destroy(w->work[n]);
		tf_guest_destroy(w->guest[n]);
	}
	tf_engine_destroy(w->engine);
}

static bool all_through(struct world *w, enum tf_work_phase phase,
			uint64_t rounds)
{
	for (unsigned n = 0; n < GUESTS; n++) {
		struct tf_work_report r = { .size = sizeof(r) };

		assert_int_equal(tf_work_report(w->work[n], &r), 0);
		if (r.died)
			fail_msg("guest %u died: %s", n + 1,
				 tf_work_why(w->work[n]));
		if (r.failures)
			fail_msg("guest %u: wrong bytes at gpa 0x%llx", n + 1,
				 (unsigned long long)r.bad_gpa[0]);
		if (r.phase != phase || !r.ready || r.rounds[phase] < rounds)
			return false;
	}
	return true;
}

static void go(struct world *w, enum tf_work_phase phase, uint64_t rounds)
{
	for (unsigned n = 0; n < GUESTS; n++)
		assert_int_equal(tf_work_command(w->work[n], phase), 0);
	for (int i = 0; i < PATIENCE_S * 20; i++) {
		if (all_through(w, phase, rounds))
			return;
		nap(50);
	}
	fail_msg("phase %d: no end after %d s", (int)phase, PATIENCE_S);
}

/* Common pages are 3 of 8, each content at 8 places of the two guests; zero
 * pages are 1 of 8. Most of them are to be shared. */
static struct tf_stats wait_for_sharing(struct world *w)
{
	const uint64_t frames = GUESTS * TF_WORK_MEM_MIN / TF_PAGE_SIZE;
	struct tf_stats s = stats_of(w);

	for (int i = 0; i < PATIENCE_S * 20; i++) {
		s = stats_of(w);
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
	struct world w;

	set_up(&w, backend);
	go(&w, TF_WORK_FILL, 0);
	assert_int_equal(tf_engine_start(w.engine), 0);
	go(&w, TF_WORK_RUN, 3);
	before = wait_for_sharing(&w);
	assert_true(before.pages_shared > 0);
	go(&w, TF_WORK_OVERWRITE, 3);
	after = stats_of(&w);
	assert_true(after.breaks + after.breaks_ahead >=
		    before.breaks + before.breaks_ahead +
			    GUESTS * TF_WORK_MEM_MIN / TF_PAGE_SIZE / 8);
	assert_int_equal(tf_engine_stop(w.engine), 0);
	tear_down(&w);
}

/* The first guest goes away in the middle of everything; the second one,
 * which shared pages with it, still finds every byte. */
static void test_guest_goes_away(void **state)
{
	enum tf_backend backend = *(const enum tf_backend *)*state;
	struct tf_work_report r = { .size = sizeof(r) };
	struct world w;

	set_up(&w, backend);
	go(&w, TF_WORK_FILL, 0);
	assert_int_equal(tf_engine_start(w.engine), 0);
	go(&w, TF_WORK_RUN, 1);
	wait_for_sharing(&w);
	tf_work_destroy(w.work[0]);
	tf_guest_destroy(w.guest[0]);
	w.work[0] = NULL;
	w.guest[0] = NULL;
	assert_int_equal(tf_work_report(w.work[1], &r), 0);
	for (uint64_t target = r.rounds[TF_WORK_RUN] + 2;
	     r.rounds[TF_WORK_RUN] < target && !r.failures && !r.died; nap(20))
		assert_int_equal(tf_work_report(w.work[1], &r), 0);
	assert_int_equal(r.failures, 0);
	assert_int_equal(r.died, 0);
	tear_down(&w);
}

static enum tf_backend kvm = TF_BACKEND_KVM;
static enum tf_backend thread = TF_BACKEND_THREAD;

static bool can_merge(void)
{
	struct world w = { .engine = new_engine() };
	bool can = stats_of(&w).can_merge;

	tf_engine_destroy(w.engine);
	return can;
}

static int no_kvm(void)
{
	struct tf_vm *vm = NULL;
	int r = tf_vm_create(NULL, &vm);

	tf_vm_destroy(vm);
	return r;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(test_share_and_break, &thread),
		cmocka_unit_test_prestate(test_guest_goes_away, &thread),
		cmocka_unit_test_prestate(test_share_and_break, &kvm),
		cmocka_unit_test_prestate(test_guest_goes_away, &kvm),
	};

	if (no_kvm()) {
		fprintf(stderr, "skipped: no KVM virtual machine here: %s\n",
			strerror(-no_kvm()));
		return 77;
	}
	if (!can_merge()) {
		fprintf(stderr, "skipped: this host cannot merge pages "
				"(userfaultfd with UFFDIO_MOVE)\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
