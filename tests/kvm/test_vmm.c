/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lightweight VMM, without an engine: RAM with a hole, vCPU start and
 * stop, clear errors, refusals.
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

#define MIB ((size_t)1 << 20)

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ram_with_hole),
		cmocka_unit_test(test_ports_and_high_memory),
		cmocka_unit_test(test_stop_and_start),
		cmocka_unit_test(test_stop_a_silent_loop),
		cmocka_unit_test(test_errors_name_the_address),
		cmocka_unit_test(test_refusals),
	};

	if (!has_kvm())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
