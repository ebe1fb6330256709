/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a vCPU starts: 32-bit protected mode, flat segments, no paging,
 * interrupts off. Calls tf_gw_main() and halts for good.
 */
#include "vmm/payload/guest.h"

	.code32
	.section .text.entry, "ax"
	.globl	_start
_start:
	lgdt	gdt_pointer
	movl	$TF_GW_STACK, %esp
	cld
	pushl	$TF_GW_CONFIG
	call	tf_gw_main
halt:
	hlt
	jmp	halt

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

	.section .note.GNU-stack, "", @progbits
