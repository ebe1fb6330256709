/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lightweight VMM and the checking workload, without an engine: RAM with
 * a hole, vCPU start and stop, clear errors, a payload that fills, runs and
 * overwrites, and the proof that its checks can fail. The workload's tests
 * run on KVM and again as a thread.
 *
 * ctest-timeout: 300
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "twinfold/vmm.h"

#define MIB ((size_t)1 << 20)

/* How long a guest may take for what takes seconds where instructions are
 * emulated; only a broken one takes so long. */
#define PATIENCE_S 120

static void nap(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* ---- a vCPU with a few bytes of code ---- */

struct tiny {
	struct tf_vm *vm;
	struct tf_vcpu *vcpu;
	uint32_t seen; /* last value written to a port */
	unsigned outs;
	uint16_t port;
};

static void tiny_out(void *user, uint16_t port, uint32_t value)
{
	struct tiny *t = user;

	t->port = port;
	t->seen = value;
	__atomic_add_fetch(&t->outs, 1, __ATOMIC_SEQ_CST);
}

static uint32_t tiny_in(void *user, uint16_t port)
{
	(void)user;
	return port + 1u;
}

static void tiny_boot(struct tiny *t, const char *code, size_t bytes)
{
	struct tf_vcpu_opts opts = {
		.size = sizeof(opts),
		.out = tiny_out,
		.in = tiny_in,
		.user = t,
	};

	memset(t, 0, sizeof(*t));
	assert_int_equal(tf_vm_create(NULL, &t->vm), 0);
	assert_int_equal(tf_vm_add_ram(t->vm, 0, MIB), 0);
	assert_int_equal(tf_vm_add_ram(t->vm, 16 * MIB, MIB), 0);
	assert_int_equal(tf_vcpu_create(t->vm, &opts, &t->vcpu), 0);
	memcpy(tf_vm_hva(t->vm, 0x1000, bytes), code, bytes);
	assert_int_equal(tf_vcpu_boot32(t->vcpu, 0x1000, 0x8000), 0);
	assert_int_equal(tf_vcpu_state(t->vcpu), TF_VCPU_STOPPED);
	assert_int_equal(tf_vcpu_start(t->vcpu), 0);
}

static void tiny_end(struct tiny *t)
{
	tf_vcpu_destroy(t->vcpu);
	tf_vm_destroy(t->vm);
}

static enum tf_vcpu_state tiny_wait(const struct tiny *t)
{
	for (int i = 0; i < PATIENCE_S * 100; i++) {
		if (tf_vcpu_state(t->vcpu) != TF_VCPU_RUNNING)
			break;
		nap(10);
	}
	return tf_vcpu_state(t->vcpu);
}

static void test_ram_with_hole(void **state)
{
	struct tiny t;
	char *low, *high;

	(void)state;
	tiny_boot(&t, "\xf4", 1); /* hlt */
	assert_int_equal(tiny_wait(&t), TF_VCPU_HALTED);
	assert_string_equal(tf_vcpu_why(t.vcpu), "");
	low = tf_vm_hva(t.vm, 0, MIB);
	high = tf_vm_hva(t.vm, 16 * MIB, MIB);
	assert_non_null(low);
	assert_non_null(high);
	assert_int_equal((uintptr_t)low % (2 * MIB), 0);
	assert_int_equal((uintptr_t)high % (2 * MIB), 0);
	assert_ptr_equal(tf_vm_hva(t.vm, 16 * MIB + 5, 1), high + 5);
	assert_null(tf_vm_hva(t.vm, MIB, 1));
	assert_null(tf_vm_hva(t.vm, MIB - 1, 2));
	assert_null(tf_vm_hva(t.vm, 17 * MIB, 1));
	assert_null(tf_vm_hva(t.vm, UINT64_MAX, 2));
	assert_int_equal(tf_vm_add_ram(t.vm, 32 * MIB, 100), -EINVAL);
	assert_int_equal(tf_vm_add_ram(t.vm, 32 * MIB, 0), -EINVAL);
	assert_int_equal(tf_vm_add_ram(t.vm, UINT64_C(0xfff00000), MIB),
			 -EINVAL);
	assert_int_equal(tf_vm_add_ram(t.vm, 0, MIB), -EEXIST);
	tiny_end(&t);
}

/* mov dx, 0x70; in eax, dx; mov [0x1000004], eax; out 0x42, eax; hlt */
static const char ports_code[] = "\x66\xba\x70\x00\xed\xa3\x04\x00\x00\x01"
				 "\xe7\x42\xf4";

static void test_ports_and_high_memory(void **state)
{
	struct tiny t;

	(void)state;
	tiny_boot(&t, ports_code, sizeof(ports_code) - 1);
	assert_int_equal(tiny_wait(&t), TF_VCPU_HALTED);
	assert_int_equal(t.port, 0x42);
	assert_int_equal(t.seen, 0x71);
	assert_int_equal(*(uint32_t *)tf_vm_hva(t.vm, 16 * MIB + 4, 4), 0x71);
	assert_int_equal(tf_vcpu_start(t.vcpu), -EPERM);
	tiny_end(&t);
}

/* inc eax; out 0x42, eax; jmp back */
static const char count_code[] = "\x40\xe7\x42\xeb\xfb";

static void wait_outs(struct tiny *t, unsigned more)
{
	unsigned from = __atomic_load_n(&t->outs, __ATOMIC_SEQ_CST);

	for (int i = 0; i < PATIENCE_S * 1000; i++) {
		if (__atomic_load_n(&t->outs, __ATOMIC_SEQ_CST) - from >= more)
			return;
		nap(1);
	}
	fail_msg("the vCPU does not run");
}

/* A stopped vCPU is still, and goes on where it was: no count is missed. */
static void test_stop_and_start(void **state)
{
	struct tiny t;
	unsigned outs;

	(void)state;
	tiny_boot(&t, count_code, sizeof(count_code) - 1);
	for (int i = 0; i < 50; i++) {
		wait_outs(&t, 3);
		assert_int_equal(tf_vcpu_start(t.vcpu), -EALREADY);
		assert_int_equal(tf_vcpu_boot32(t.vcpu, 0, 0), -EBUSY);
		assert_int_equal(tf_vcpu_stop(t.vcpu), 0);
		assert_int_equal(tf_vcpu_state(t.vcpu), TF_VCPU_STOPPED);
		outs = t.outs;
		nap(1);
		assert_int_equal(t.outs, outs);
		assert_int_equal(t.seen, outs);
		assert_int_equal(tf_vcpu_stop(t.vcpu), 0);
		assert_int_equal(tf_vcpu_start(t.vcpu), 0);
	}
	tiny_end(&t);
}

/* jmp self: no exit of its own, only the kick ends it. */
static void test_stop_a_silent_loop(void **state)
{
	struct tiny t;

	(void)state;
	tiny_boot(&t, "\xeb\xfe", 2);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(tf_vcpu_stop(t.vcpu), 0);
		assert_int_equal(tf_vcpu_start(t.vcpu), 0);
		if (i % 2)
			nap(1);
	}
	tiny_end(&t);
}

static void expect_failure(const char *code, size_t bytes, const char *part)
{
	struct tiny t;

	tiny_boot(&t, code, bytes);
	assert_int_equal(tiny_wait(&t), TF_VCPU_FAILED);
	if (!strstr(tf_vcpu_why(t.vcpu), part))
		fail_msg("'%s' does not say '%s'", tf_vcpu_why(t.vcpu), part);
	tiny_end(&t);
}

static void test_errors_name_the_address(void **state)
{
	(void)state;
	/* mov eax, [0x2000000] */
	expect_failure("\xa1\x00\x00\x00\x02\xf4", 6,
		       "read of gpa 0x2000000, which is not RAM");
	/* mov [0x100000], eax: the first byte of the hole */
	expect_failure("\xa3\x00\x00\x10\x00\xf4", 6,
		       "write to gpa 0x100000, which is not RAM");
	/* ud2 without an IDT */
	expect_failure("\x0f\x0b", 2, "triple fault");
}

static void test_refusals(void **state)
{
	struct tf_vm_opts threads = {
		.size = sizeof(threads),
		.backend = TF_BACKEND_THREAD,
	};
	struct tf_vcpu_opts none = { .size = sizeof(none) };
	struct tf_vcpu_opts both = {
		.size = sizeof(both),
		.in = tiny_in,
		.out = tiny_out,
	};
	struct tf_vcpu *vcpu = NULL;
	struct tf_vm *vm = NULL;

	(void)state;
	assert_int_equal(tf_vm_create(&threads, &vm), 0);
	assert_int_equal(tf_vcpu_create(vm, &none, &vcpu), -EINVAL);
	assert_int_equal(tf_vcpu_create(vm, &both, &vcpu), -ENODEV);
	assert_null(vcpu);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(tf_vm_add_ram(vm, i * MIB, MIB), 0);
	assert_int_equal(tf_vm_add_ram(vm, 64 * MIB, MIB), -ENOSPC);
	tf_vm_destroy(vm);
	tf_vm_destroy(NULL);
	tf_vcpu_destroy(NULL);
	tf_work_destroy(NULL);
}

/* ---- the workload ---- */

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

static struct tf_work_report report_of(struct tf_work *work)
{
	struct tf_work_report r = { .size = sizeof(r) };

	assert_int_equal(tf_work_report(work, &r), 0);
	if (r.died)
		fail_msg("the workload died: %s", tf_work_why(work));
	return r;
}

/* Enter `phase` and stay until every page was checked `rounds` times. */
static struct tf_work_report go(struct tf_work *work, enum tf_work_phase phase,
				uint64_t rounds)
{
	struct tf_work_report r = report_of(work);

	assert_int_equal(tf_work_command(work, phase), 0);
	for (int i = 0; i < PATIENCE_S * 100; i++) {
		r = report_of(work);
		if (r.phase == phase && r.ready && r.rounds[phase] >= rounds)
			return r;
		nap(10);
	}
	fail_msg("phase %d: no end after %d s (round %d)", (int)phase,
		 PATIENCE_S, (int)r.rounds[phase]);
	return r;
}

static void test_all_phases(void **state)
{
	struct tf_work *work = new_work(state, 1, TF_WORK_MEM_MIN);
	struct tf_work_report r = go(work, TF_WORK_FILL, 0);
	uint64_t checks, writes;

	assert_int_equal(r.filled, r.pages);
	assert_int_equal(r.writes, r.pages);
	assert_int_equal(r.pages_ram, TF_WORK_MEM_MIN / TF_PAGE_SIZE);
	assert_true(r.pages < r.pages_ram);
	assert_int_equal(r.checks, 0);

	r = go(work, TF_WORK_RUN, 3);
	assert_true(r.checks >= 3 * r.pages);
	assert_true(r.writes > r.pages + r.pages / 4);
	checks = r.checks;
	writes = r.writes;

	r = go(work, TF_WORK_OVERWRITE, 2);
	assert_true(r.checks >= checks + 2 * r.pages);
	/* Three of eight pages are common and one is zero. */
	assert_true(r.writes >= writes + r.pages * 3 / 8);
	assert_int_equal(r.failures, 0);

	assert_int_equal(tf_work_command(work, TF_WORK_RUN), -EINVAL);
	go(work, TF_WORK_DONE, 0);
	assert_int_equal(tf_work_stop(work), 0);
	assert_string_equal(tf_work_why(work), "");
	tf_work_destroy(work);
}

static const char *page_of(struct tf_work *work, uint64_t n)
{
	struct tf_work_report r = report_of(work);
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
	struct tf_work_report r = report_of(a);

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

	go(a, TF_WORK_FILL, 0);
	go(b, TF_WORK_FILL, 0);
	tf_work_stop(a);
	tf_work_stop(b);
	pages = report_of(a).pages;
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

/* One wrong byte, put there behind the guest's back, is found and named. */
static void corrupt(void **state, uint64_t gpa)
{
	struct tf_work *work = new_work(state, 3, TF_WORK_MEM_MIN);
	struct tf_work_report r;
	char *byte;

	go(work, TF_WORK_FILL, 0);
	r = go(work, TF_WORK_RUN, 1);
	assert_int_equal(r.failures, 0);
	gpa += gpa < TF_WORK_HIGH_GPA ? r.first_gpa : 0;
	byte = tf_vm_hva(tf_work_vm(work), gpa, 1);
	assert_non_null(byte);
	__atomic_xor_fetch(byte, 0x10, __ATOMIC_SEQ_CST);
	r = go(work, TF_WORK_RUN, r.rounds[TF_WORK_RUN] + 2);
	assert_true(r.failures >= 1);
	assert_int_equal(r.bad_gpa[0], gpa);
	__atomic_xor_fetch(byte, 0x10, __ATOMIC_SEQ_CST);
	r = go(work, TF_WORK_RUN, r.rounds[TF_WORK_RUN] + 1);
	assert_int_equal(
		go(work, TF_WORK_RUN, r.rounds[TF_WORK_RUN] + 1).failures,
		r.failures);
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
	go(work, TF_WORK_FILL, 0);
	tf_work_command(work, TF_WORK_RUN);
	while (!report_of(work).checks)
		nap(1);
	assert_int_equal(tf_work_stop(work), 0);
	r = report_of(work);
	assert_true(r.checks > 0);
	nap(20);
	assert_int_equal(report_of(work).checks, r.checks);
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

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;
	int c;

	assert_non_null(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
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
	fds = entries("/proc/self/fd");
	threads = entries("/proc/self/task");
	maps = mappings();
	for (int i = 0; i < 5; i++)
		one_short_life(state);
	assert_int_equal(entries("/proc/self/fd"), fds);
	assert_int_equal(entries("/proc/self/task"), threads);
	/* A new thread stack or heap arena may stay; RAM would show more. */
	assert_in_range(mappings(), 0, maps + 3);
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
		cmocka_unit_test(test_ram_with_hole),
		cmocka_unit_test(test_ports_and_high_memory),
		cmocka_unit_test(test_stop_and_start),
		cmocka_unit_test(test_stop_a_silent_loop),
		cmocka_unit_test(test_errors_name_the_address),
		cmocka_unit_test(test_refusals),
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
	struct tf_vm *vm = NULL;
	int r = tf_vm_create(NULL, &vm);

	tf_vm_destroy(vm);
	if (r) {
		fprintf(stderr, "skipped: no KVM virtual machine here: %s\n",
			strerror(-r));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
