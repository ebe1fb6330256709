/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machine checks in a few instructions of guest code, where the moment
 * matters: MCIP left set, two vCPUs, a guest that never exits.
 *
 * ctest-timeout: 300
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mce_world.h"

#define MIB ((size_t)1 << 20)
#define TINY_CODE 0x1000
#define TINY_DATA (16 * MIB)

/* Port 0x80, bits: clear MCIP; read TINY_DATA and write it to port 0x44; never
 * exit again. The handler writes the address to port 0x42, and clears MCIP if
 * port 0x81 says so. */
__asm__(".pushsection .rodata\n"
	".balign 8\n"
	"tiny_start:\n"
	".code32\n"
	"	lgdt	tiny_gdtp - tiny_start + 0x1000\n"
	"	lidt	tiny_idtp - tiny_start + 0x1000\n"
	"	movl	%cr4, %eax\n"
	"	orl	$0x40, %eax\n"
	"	movl	%eax, %cr4\n"
	"1:	inl	$0x80, %eax\n"
	"	movl	%eax, %ebx\n"
	"	testl	$1, %ebx\n"
	"	jz	2f\n"
	"	xorl	%eax, %eax\n"
	"	xorl	%edx, %edx\n"
	"	movl	$0x17a, %ecx\n"
	"	wrmsr\n"
	"2:	testl	$2, %ebx\n"
	"	jz	3f\n"
	"	movl	0x1000000, %eax\n"
	"	outl	%eax, $0x44\n"
	"3:	testl	$4, %ebx\n"
	"	jz	1b\n"
	"4:	jmp	4b\n"
	"tiny_mc:\n"
	"	pushal\n"
	"	movl	$0x426, %ecx\n"
	"	rdmsr\n"
	"	outl	%eax, $0x42\n"
	"	xorl	%eax, %eax\n"
	"	xorl	%edx, %edx\n"
	"	movl	$0x425, %ecx\n"
	"	wrmsr\n"
	"	inl	$0x81, %eax\n"
	"	testl	%eax, %eax\n"
	"	jz	5f\n"
	"	xorl	%eax, %eax\n"
	"	xorl	%edx, %edx\n"
	"	movl	$0x17a, %ecx\n"
	"	wrmsr\n"
	/* KVM does not emulate IRET in protected mode. */
	"5:	movl	32(%esp), %eax\n"
	"	movl	40(%esp), %ecx\n"
	"	movl	%ecx, 36(%esp)\n"
	"	movl	%eax, 40(%esp)\n"
	"	popal\n"
	"	leal	4(%esp), %esp\n"
	"	popfl\n"
	"	ret\n"
	".code64\n"
	"	.balign	8\n"
	"tiny_gdt:\n"
	"	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
	"tiny_idt:\n"
	"	.fill	18, 8, 0\n"
	"	.word	tiny_mc - tiny_start + 0x1000, 0x08, 0x8e00, 0\n"
	"tiny_gdtp:\n"
	"	.word	23\n"
	"	.long	tiny_gdt - tiny_start + 0x1000\n"
	"tiny_idtp:\n"
	"	.word	19 * 8 - 1\n"
	"	.long	tiny_idt - tiny_start + 0x1000\n"
	"tiny_end:\n"
	".popsection\n");
extern const char tiny_start[], tiny_end[];

struct tiny {
	struct world w;
	struct tf_vm *vm;
	struct cpu {
		struct tiny *tiny;
		struct tf_vcpu *vcpu;
		_Atomic uint32_t todo;  /* the next answer of port 0x80 */
		_Atomic uint32_t clear; /* the answer of port 0x81 */
		_Atomic unsigned n;     /* machine checks */
		_Atomic unsigned reads;
		atomic_bool ready; /* its machine checks are on */
		uint32_t gpa[BURST];
		uint32_t value;
	} cpu[2];
};

static void tiny_out(void *user, uint16_t port, uint32_t value)
{
	struct cpu *c = user;

	if (port == 0x44) {
		c->value = value;
		c->reads++;
		return;
	}
	if (c->n < BURST)
		c->gpa[c->n] = value;
	if (c->clear)
		tf_vm_give_up(c->tiny->vm, value & ~4095u);
	c->n++;
}

static uint32_t tiny_in(void *user, uint16_t port)
{
	struct cpu *c = user;

	if (port != 0x80)
		return c->clear;
	c->ready = true;
	return atomic_exchange(&c->todo, 0);
}

static void tiny_add(struct tiny *t, unsigned n)
{
	struct tf_vcpu_opts opts = { .size = sizeof(opts),
				     .out = tiny_out,
				     .in = tiny_in,
				     .user = &t->cpu[n] };
	struct cpu *c = &t->cpu[n];

	c->tiny = t;
	assert_int_equal(tf_vcpu_create(t->vm, &opts, &c->vcpu), 0);
	assert_int_equal(tf_vcpu_boot32(c->vcpu, TINY_CODE, 0x8000 - n * 4096),
			 0);
	assert_int_equal(tf_vcpu_start(c->vcpu), 0);
}

static void wait_ready(const struct cpu *c)
{
	for (int i = 0; i < PATIENCE_S * 1000 && !c->ready; i++)
		nap(1);
	assert_true(c->ready);
}

static void tiny_open(struct tiny *t, unsigned cpus)
{
	struct tf_vm_opts opts = { .size = sizeof(opts) };

	memset(t, 0, sizeof(*t));
	open_engine(&t->w);
	opts.guest = t->w.guest;
	opts.engine = t->w.engine;
	assert_int_equal(tf_vm_create(&opts, &t->vm), 0);
	assert_int_equal(tf_vm_add_ram(t->vm, 0, MIB), 0);
	assert_int_equal(tf_vm_add_ram(t->vm, TINY_DATA, MIB), 0);
	memcpy(tf_vm_hva(t->vm, TINY_CODE, 4096), tiny_start,
	       (size_t)(tiny_end - tiny_start));
	memset(tf_vm_hva(t->vm, TINY_DATA, MIB), 0x5a, MIB);
	for (unsigned n = 0; n < cpus; n++)
		tiny_add(t, n);
	for (unsigned n = 0; n < cpus; n++)
		wait_ready(&t->cpu[n]);
}

static void tiny_close(struct tiny *t)
{
	for (unsigned n = 0; n < 2; n++)
		tf_vcpu_destroy(t->cpu[n].vcpu);
	tf_vm_destroy(t->vm);
	close_engine(&t->w);
}

static void wait_for(const struct cpu *c, const _Atomic unsigned *word,
		     unsigned n)
{
	for (int i = 0; i < PATIENCE_S * 100 && *word < n; i++)
		nap(10);
	if (tf_vcpu_state(c->vcpu) == TF_VCPU_FAILED)
		fail_msg("%s", tf_vcpu_why(c->vcpu));
	assert_int_equal(*word, n);
}

/* MCIP stays set: the others wait, none is lost, in order, none twice. */
static void one_at_a_time(void **state)
{
	struct tiny t;
	struct cpu *c = &t.cpu[0];

	(void)state;
	tiny_open(&t, 1);
	for (unsigned i = 0; i < BURST; i++) {
		uint64_t gpa = TINY_DATA + (i * 7 % BURST) * TF_PAGE_SIZE;

		lose(&t.w, gpa);
		tell_of(&t.w, t.vm, gpa);
	}
	for (unsigned i = 0; i < BURST; i++) {
		wait_for(c, &c->n, i + 1);
		if (i % 16 == 0) {
			tf_vm_deliver_vmces(t.w.engine);
			nap(30);
		}
		assert_int_equal(c->n, i + 1);
		c->todo = 1;
	}
	nap(50);
	assert_int_equal(c->n, BURST);
	for (unsigned i = 0; i < BURST; i++)
		assert_int_equal(c->gpa[i],
				 TINY_DATA + (i * 7 % BURST) * TF_PAGE_SIZE);
	tiny_close(&t);
}

/* One of them is told; the other sees what the guest made of the page. */
static void two_vcpus(void **state)
{
	struct tiny t;

	(void)state;
	tiny_open(&t, 2);
	for (unsigned i = 1; i <= 50; i++) {
		memset(tf_vm_hva(t.vm, TINY_DATA, 4096), 0x5a, 4096);
		lose(&t.w, TINY_DATA);
		t.cpu[0].clear = t.cpu[1].clear = 1;
		t.cpu[0].todo = t.cpu[1].todo = 2;
		wait_for(&t.cpu[0], &t.cpu[0].reads, i);
		wait_for(&t.cpu[1], &t.cpu[1].reads, i);
		assert_int_equal(t.cpu[0].n + t.cpu[1].n, i);
		/* All ones: behind this it was told. */
		assert_true(
			(t.cpu[0].value == UINT32_MAX && t.cpu[1].value == 0) ||
			(t.cpu[1].value == UINT32_MAX && t.cpu[0].value == 0));
	}
	tiny_close(&t);
}

/* The embedder waits for the eventfd, and has the guest interrupted. */
static void a_guest_that_never_exits(void **state)
{
	struct pollfd p = { .events = POLLIN };
	struct tiny t;

	(void)state;
	tiny_open(&t, 1);
	t.cpu[0].todo = 4;
	for (int i = 0; i < 5000 && t.cpu[0].todo; i++)
		nap(1);
	assert_int_equal(t.cpu[0].todo, 0);
	lose(&t.w, TINY_DATA);
	tell_of(&t.w, t.vm, TINY_DATA);
	p.fd = t.w.eventfd;
	assert_int_equal(poll(&p, 1, 5000), 1);
	nap(50);
	assert_int_equal(t.cpu[0].n, 0);
	tf_vm_deliver_vmces(t.w.engine);
	wait_for(&t.cpu[0], &t.cpu[0].n, 1);
	assert_int_equal(t.cpu[0].gpa[0], TINY_DATA);
	tiny_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(two_vcpus),
		cmocka_unit_test(a_guest_that_never_exits),
	};

	if (!has_kvm() || !has_merging())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
