/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checking workload, without an engine: a payload that fills, runs and
 * overwrites, and the proof that its checks can fail. On KVM, and again as a
 * thread.
 *
 * ctest-timeout: 300
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/guests.h"
#include "lib/process.h"
#include "lib/sanitized.h"

static enum tf_backend backend_of(void **state)
{
	return *(const enum tf_backend *)*state;
}

static struct tf_work *new_work(void **state, unsigned id, size_t bytes)
{
	struct tf_work_opts opts = {
		.size = sizeof(opts),
		.backend = backend_of(state),
		.id = id,
		.bytes = bytes,
	};
	struct tf_work *work = NULL;

	assert_int_equal(tf_work_create(&opts, &work), 0);
	assert_int_equal(tf_work_start(work), 0);
	return work;
}

static void test_all_phases(void **state)
{
	struct tf_work *work = new_work(state, 1, TF_WORK_MEM_MIN);
	struct tf_work_report r = work_go(work, TF_WORK_FILL, 0);
	uint64_t checks, writes;

	assert_int_equal(r.filled, r.pages);
	assert_int_equal(r.writes, r.pages);
	assert_int_equal(r.pages_ram, TF_WORK_MEM_MIN / TF_PAGE_SIZE);
	assert_true(r.pages < r.pages_ram);
	assert_int_equal(r.checks, 0);

	r = work_go(work, TF_WORK_RUN, 3);
	assert_true(r.checks >= 3 * r.pages);
	assert_true(r.writes > r.pages + r.pages / 4);
	checks = r.checks;
	writes = r.writes;

	r = work_go(work, TF_WORK_OVERWRITE, 2);
	assert_true(r.checks >= checks + 2 * r.pages);
	/* Three of eight pages are common and one is zero. */
	assert_true(r.writes >= writes + r.pages * 3 / 8);
	assert_int_equal(r.failures, 0);

	assert_int_equal(tf_work_command(work, TF_WORK_RUN), -EINVAL);
	work_go(work, TF_WORK_DONE, 0);
	assert_int_equal(tf_work_stop(work), 0);
	assert_string_equal(tf_work_why(work), "");
	tf_work_destroy(work);
}

static const char *page_of(struct tf_work *work, uint64_t n)
{
	struct tf_work_report r = work_report(work);
	uint64_t low = TF_WORK_MEM_MIN / 2 - r.first_gpa;
	uint64_t off = n * TF_PAGE_SIZE;
	uint64_t gpa = off < low ? r.first_gpa + off :
				   TF_WORK_HIGH_GPA + off - low;

	return tf_vm_hva(tf_work_vm(work), gpa, TF_PAGE_SIZE);
}

/* Pages of `a` that are zero, or equal to the same page of `b`, or neither. */
static void count_kinds(struct tf_work *a, struct tf_work *b, unsigned kinds[3])
{
	static const char zero[TF_PAGE_SIZE];
	struct tf_work_report r = work_report(a);

	for (uint64_t i = 0; i < r.pages; i++) {
		const char *p = page_of(a, i), *q = page_of(b, i);

		if (!memcmp(p, zero, TF_PAGE_SIZE))
			kinds[0]++;
		else if (!memcmp(p, q, TF_PAGE_SIZE))
			kinds[1]++;
		else
			kinds[2]++;
	}
}

static void test_kinds_of_pages(void **state)
{
	struct tf_work *a = new_work(state, 1, TF_WORK_MEM_MIN);
	struct tf_work *b = new_work(state, 2, TF_WORK_MEM_MIN);
	unsigned kinds[3] = { 0 };
	uint64_t pages;

	work_go(a, TF_WORK_FILL, 0);
	work_go(b, TF_WORK_FILL, 0);
	tf_work_stop(a);
	tf_work_stop(b);
	pages = work_report(a).pages;
	count_kinds(a, b, kinds);
	assert_in_range(kinds[0], pages / 8 - 16, pages / 8 + 16);
	assert_in_range(kinds[1], pages * 3 / 8 - 48, pages * 3 / 8 + 48);
	assert_int_equal(kinds[0] + kinds[1] + kinds[2], pages);
	/* Several groups: neighbours are not equal, and a group comes again. */
	assert_memory_not_equal(page_of(a, 48), page_of(a, 49), TF_PAGE_SIZE);
	assert_memory_equal(page_of(a, 48), page_of(b, 48), TF_PAGE_SIZE);
	tf_work_destroy(a);
	tf_work_destroy(b);
}

/* While the guest may be reading it: no sanitizer is to see this. */
__attribute__((noinline, no_sanitize("thread"))) static void flip(char *byte)
{
	__atomic_xor_fetch(byte, 0x10, __ATOMIC_SEQ_CST);
}

/* One wrong byte, put there behind the guest's back, is found and named. */
static void corrupt(void **state, uint64_t gpa)
{
	struct tf_work *work = new_work(state, 3, TF_WORK_MEM_MIN);
	struct tf_work_report r;
	char *byte;

	work_go(work, TF_WORK_FILL, 0);
	r = work_go(work, TF_WORK_RUN, 1);
	assert_int_equal(r.failures, 0);
	gpa += gpa < TF_WORK_HIGH_GPA ? r.first_gpa : 0;
	byte = tf_vm_hva(tf_work_vm(work), gpa, 1);
	assert_non_null(byte);
	flip(byte);
	r = work_go(work, TF_WORK_RUN, 2);
	assert_true(r.failures >= 1);
	assert_int_equal(r.bad_gpa[0], gpa);
	flip(byte);
	r = work_go(work, TF_WORK_RUN, 1);
	assert_int_equal(work_go(work, TF_WORK_RUN, 1).failures, r.failures);
	tf_work_destroy(work);
}

static void test_wrong_byte_in_unique_page(void **state)
{
	corrupt(state, 5 * TF_PAGE_SIZE + 2049);
}

static void test_wrong_byte_in_zero_page(void **state)
{
	corrupt(state, 96 * TF_PAGE_SIZE + 4095);
}

static void test_wrong_byte_in_high_memory(void **state)
{
	uint64_t end = TF_WORK_HIGH_GPA + TF_WORK_MEM_MIN / 2;

	corrupt(state, end - TF_PAGE_SIZE + 3);
}

/* A workload that is stopped in the middle keeps its report. */
static void test_stop_early(void **state)
{
	struct tf_work *work = new_work(state, 1, TF_WORK_MEM_MIN);
	struct tf_work_report r;

	assert_int_equal(tf_work_start(work), -EALREADY);
	work_go(work, TF_WORK_FILL, 0);
	tf_work_command(work, TF_WORK_RUN);
	while (!work_report(work).checks)
		nap(1);
	assert_int_equal(tf_work_stop(work), 0);
	r = work_report(work);
	assert_true(r.checks > 0);
	nap(20);
	assert_int_equal(work_report(work).checks, r.checks);
	assert_int_equal(r.failures, 0);
	tf_work_destroy(work);
}

static void test_work_options(void **state)
{
	struct tf_work_opts opts = {
		.size = sizeof(opts),
		.backend = backend_of(state),
		.id = 1,
		.bytes = TF_WORK_MEM_MIN - TF_PAGE_SIZE,
	};
	struct tf_work *work = NULL;

	assert_int_equal(tf_work_create(&opts, &work), -EINVAL);
	opts.bytes = TF_WORK_MEM_MIN + 1;
	assert_int_equal(tf_work_create(&opts, &work), -EINVAL);
	opts.bytes = TF_WORK_MEM_MAX + TF_PAGE_SIZE;
	assert_int_equal(tf_work_create(&opts, &work), -EINVAL);
	opts.bytes = TF_WORK_MEM_MIN;
	opts.id = 0;
	assert_int_equal(tf_work_create(&opts, &work), -EINVAL);
	assert_int_equal(tf_work_create(NULL, &work), -EINVAL);
	assert_null(work);
}

/* A guest that goes wrong is reported, not waited for. */
static void test_death_is_reported(void **state)
{
	struct tf_work_report r = { .size = sizeof(r) };
	struct tf_work_opts opts = {
		.size = sizeof(opts),
		.id = 1,
		.bytes = TF_WORK_MEM_MIN,
	};
	struct tf_work *work = NULL;

	(void)state;
	assert_int_equal(tf_work_create(&opts, &work), 0);
	/* ud2 where the payload begins, without an IDT */
	memcpy(tf_vm_hva(tf_work_vm(work), 0x4000, 2), "\x0f\x0b", 2);
	assert_int_equal(tf_work_start(work), 0);
	for (int i = 0; i < PATIENCE_S * 100 && !r.died; i++) {
		nap(10);
		assert_int_equal(tf_work_report(work, &r), 0);
	}
	assert_true(r.died);
	assert_non_null(strstr(tf_work_why(work), "triple fault"));
	tf_work_destroy(work);
}

static void one_short_life(void **state)
{
	struct tf_work *work = new_work(state, 1, TF_WORK_MEM_MIN);

	tf_work_command(work, TF_WORK_FILL);
	nap(20);
	tf_work_destroy(work);
}

/* Descriptors, threads and mappings are as before. The first life is not
 * counted: libraries keep what they have set up for good. */
static void test_nothing_is_left(void **state)
{
	unsigned fds, threads, maps;

	one_short_life(state);
	fds = process_fds();
	threads = process_threads();
	maps = process_maps();
	for (int i = 0; i < 5; i++)
		one_short_life(state);
	assert_int_equal(process_fds(), fds);
	assert_int_equal(process_threads(), threads);
	/* A new thread stack or heap arena may stay; RAM would show more. A
	 * sanitizer maps what it likes. */
	assert_in_range(process_maps(), 0, maps + (SANITIZED ? 1000 : 3));
}

static enum tf_backend kvm = TF_BACKEND_KVM;
static enum tf_backend thread = TF_BACKEND_THREAD;

#define WITH(test, backend)                                                    \
	{                                                                      \
		.name = #test " (" #backend ")", .test_func = (test),          \
		.initial_state = &(backend)                                    \
	}
#define BOTH(test) WITH(test, kvm), WITH(test, thread)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_all_phases),
		BOTH(test_kinds_of_pages),
		BOTH(test_wrong_byte_in_unique_page),
		BOTH(test_wrong_byte_in_zero_page),
		BOTH(test_wrong_byte_in_high_memory),
		BOTH(test_stop_early),
		BOTH(test_work_options),
		BOTH(test_nothing_is_left),
		cmocka_unit_test(test_death_is_reported),
	};

	if (!has_kvm())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
