/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a vCPU starts: 32-bit protected mode, flat segments, no paging,
 * interrupts off. Calls tf_gw_main() and halts for good. The one exception it
 * takes is the machine check (vector 18); any other is a triple fault.
 */
#include "vmm/payload/guest.h"

	.code32
	.section .text.entry, "ax"
	.globl	_start
_start:
	lgdt	gdt_pointer
	lidt	idt_pointer
	movl	$TF_GW_STACK, %esp
	cld
	pushl	$TF_GW_CONFIG
	call	tf_gw_main
halt:
	hlt
	jmp	halt

	/* tf_gw_try(cfg, fn, arg). The stack is remembered in the first word
	 * of struct tf_gw_mces. */
	.text
	.globl	tf_gw_try
tf_gw_try:
	pushl	%ebp
	pushl	%ebx
	pushl	%esi
	pushl	%edi
	movl	24(%esp), %eax
	movl	28(%esp), %ecx
	movl	%esp, TF_GW_MCES
	pushl	%ecx
	call	*%eax
end_try:
	movl	TF_GW_MCES, %esp
	movl	$0, TF_GW_MCES
	popl	%edi
	popl	%esi
	popl	%ebx
	popl	%ebp
	ret

	/* On the stack behind the eight registers: EIP, CS, EFLAGS, no error
	 * code. Not left by IRET, which KVM does not emulate in protected
	 * mode: with one code segment, POPF and RET do as well. */
machine_check:
	pushal
	cld
	call	tf_gw_machine_check
	testl	%eax, %eax
	jnz	end_try
	movl	32(%esp), %eax
	movl	40(%esp), %ecx
	movl	%ecx, 36(%esp)
	movl	%eax, 40(%esp)
	popal
	leal	4(%esp), %esp
	popfl
	ret

	/* The segments that the host has loaded already; exceptions load
	 * them again. */
	.section .rodata
	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08: code, 4 GiB */
	.quad	0x00cf93000000ffff	/* 0x10: data, 4 GiB */
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	/* The image lies below 64 KiB (payload.ld): an address is one word. */
	.balign	8
idt:
	.fill	18, 8, 0
	.word	machine_check, 0x08, 0x8e00, 0	/* interrupt gate */
idt_pointer:
	.word	. - idt - 1
	.long	idt

	.section .note.GNU-stack, "", @progbits
