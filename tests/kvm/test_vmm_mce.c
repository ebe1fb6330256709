/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machine checks of a workload whose only copy of a page is lost: it gives the
 * page up, writes it anew, and goes on; it is told once, at the right address.
 *
 * ctest-timeout: 300
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/mce_world.h"

static struct tf_work_report report_of(struct world *w)
{
	struct tf_work_report r = { .size = sizeof(r) };

	assert_int_equal(tf_work_report(w->work, &r), 0);
	if (r.died)
		fail_msg("the guest died: %s", tf_work_why(w->work));
	if (r.failures)
		fail_msg("wrong bytes at gpa 0x%llx",
			 (unsigned long long)r.bad_gpa[0]);
	return r;
}

static void go(struct world *w, enum tf_work_phase phase, uint64_t rounds)
{
	struct tf_work_report r = report_of(w);

	rounds += r.rounds[phase];
	assert_int_equal(tf_work_command(w->work, phase), 0);
	for (int i = 0; i < PATIENCE_S * 100; i++) {
		r = report_of(w);
		if (r.phase == phase && r.ready && r.rounds[phase] >= rounds)
			return;
		nap(10);
	}
	fail_msg("phase %d has no end", (int)phase);
}

static void open_work(struct world *w, enum tf_backend backend)
{
	struct tf_work_opts work = { .size = sizeof(work),
				     .backend = backend,
				     .id = 1,
				     .bytes = TF_WORK_MEM_MIN };

	open_engine(w);
	work.guest = w->guest;
	work.engine = w->engine;
	assert_int_equal(tf_work_create(&work, &w->work), 0);
	assert_int_equal(tf_work_start(w->work), 0);
	go(w, TF_WORK_FILL, 0);
}

static void close_work(struct world *w)
{
	tf_work_destroy(w->work);
	close_engine(w);
}

static void wait_mces(struct world *w, uint64_t n)
{
	for (int i = 0; i < PATIENCE_S * 100; i++) {
		if (report_of(w).mces >= n)
			return;
		nap(10);
	}
	fail_msg("%llu machine checks, not %llu",
		 (unsigned long long)report_of(w).mces, (unsigned long long)n);
}

static void takes_one(struct world *w, uint64_t gpa, int required)
{
	struct tf_work_mce mce = { .size = sizeof(mce) };

	assert_int_equal(tf_work_take_mce(w->work, &mce), 0);
	assert_int_equal(mce.gpa, gpa);
	assert_int_equal(mce.required, required);
}

static void takes_no_more(struct world *w)
{
	struct tf_work_mce mce = { .size = sizeof(mce) };

	assert_int_equal(tf_work_take_mce(w->work, &mce), -EAGAIN);
}

/* The n-th page of a kind that lasts. */
static uint64_t find_page(struct world *w, enum tf_work_kind kind, unsigned n)
{
	struct tf_work_page p = { .size = sizeof(p) };

	for (uint64_t i = 0; i < report_of(w).pages; i++) {
		assert_int_equal(tf_work_page(w->work, i, &p), 0);
		if (p.kind == kind && !p.hot && !n--)
			return p.gpa;
	}
	fail_msg("no such page");
	return 0;
}

static void touched_first(enum tf_backend backend)
{
	struct world w;
	uint64_t gpa;

	open_work(&w, backend);
	gpa = find_page(&w, TF_WORK_UNIQUE, 5);
	lose(&w, gpa);
	go(&w, TF_WORK_RUN, 3);
	takes_one(&w, gpa, 1);
	takes_no_more(&w);
	assert_int_equal(report_of(&w).lost_pages, 1);
	assert_int_equal(report_of(&w).mces, 1);
	go(&w, TF_WORK_OVERWRITE, 2);
	takes_no_more(&w);
	close_work(&w);
}

static void told_first(enum tf_backend backend)
{
	struct world w;
	uint64_t gpa;

	open_work(&w, backend);
	gpa = find_page(&w, TF_WORK_UNIQUE, 5);
	lose(&w, gpa);
	tell_of(&w, tf_work_vm(w.work), gpa);
	wait_mces(&w, 1);
	takes_one(&w, gpa, 0);
	go(&w, TF_WORK_RUN, 3);
	takes_no_more(&w);
	assert_int_equal(report_of(&w).lost_pages, 1);
	close_work(&w);
}

static void kvm_touched_first(void **state)
{
	(void)state;
	touched_first(TF_BACKEND_KVM);
}

static void thread_touched_first(void **state)
{
	(void)state;
	touched_first(TF_BACKEND_THREAD);
}

static void kvm_told_first(void **state)
{
	(void)state;
	told_first(TF_BACKEND_KVM);
}

static void thread_told_first(void **state)
{
	(void)state;
	told_first(TF_BACKEND_THREAD);
}

static unsigned index_of(const uint64_t gpa[BURST], uint64_t wanted)
{
	for (unsigned i = 0; i < BURST; i++)
		if (gpa[i] == wanted)
			return i;
	fail_msg("nobody lost gpa 0x%llx", (unsigned long long)wanted);
	return 0;
}

/* Each once, while the guest is at work, in whatever order. */
static void a_burst(void **state)
{
	uint64_t gpa[BURST];
	bool told[BURST] = { false };
	struct tf_work_mce mce = { .size = sizeof(mce) };
	struct world w;

	(void)state;
	open_work(&w, TF_BACKEND_KVM);
	assert_int_equal(tf_work_command(w.work, TF_WORK_RUN), 0);
	for (unsigned i = 0; i < BURST; i++)
		gpa[i] = find_page(&w, TF_WORK_UNIQUE, i);
	for (unsigned i = 0; i < BURST; i++)
		lose(&w, gpa[i]);
	for (int i = 0; i < 4; i++)
		assert_int_equal(tf_engine_pass(w.engine, NULL), 0);
	wait_mces(&w, BURST);
	go(&w, TF_WORK_RUN, 3);
	while (!tf_work_take_mce(w.work, &mce)) {
		bool *one = &told[index_of(gpa, mce.gpa)];

		assert_false(*one);
		*one = true;
	}
	assert_int_equal(report_of(&w).mces, BURST);
	assert_int_equal(report_of(&w).lost_pages, BURST);
	close_work(&w);
}

/* Two VMs on one engine: whoever fetches it, it comes to the right one. */
static void two_guests(void **state)
{
	struct tf_work_opts work = { .size = sizeof(work),
				     .backend = TF_BACKEND_KVM,
				     .id = 2,
				     .bytes = TF_WORK_MEM_MIN };
	struct world a, b;

	(void)state;
	open_work(&a, TF_BACKEND_KVM);
	b = a;
	assert_int_equal(tf_guest_create(a.engine, NULL, &b.guest), 0);
	work.guest = b.guest;
	work.engine = b.engine;
	assert_int_equal(tf_work_create(&work, &b.work), 0);
	assert_int_equal(tf_work_start(b.work), 0);
	go(&b, TF_WORK_FILL, 0);
	for (unsigned i = 0; i < 20; i++) {
		struct world *w = i % 3 ? &a : &b, *other = i % 3 ? &b : &a;
		uint64_t n = report_of(w).mces;
		uint64_t gpa = find_page(w, TF_WORK_UNIQUE, i);

		lose(w, gpa);
		tell_of(w, tf_work_vm(w->work), gpa);
		wait_mces(w, n + 1);
		takes_one(w, gpa, 0);
		takes_no_more(other);
	}
	tf_work_destroy(b.work);
	tf_guest_destroy(b.guest);
	close_work(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kvm_touched_first),
		cmocka_unit_test(thread_touched_first),
		cmocka_unit_test(kvm_told_first),
		cmocka_unit_test(thread_told_first),
		cmocka_unit_test(a_burst),
		cmocka_unit_test(two_guests),
	};

	if (!has_kvm() || !has_merging())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
