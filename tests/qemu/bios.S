/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole firmware for test_kvm.py, 64 KiB that end at the reset vector. It
 * fills 16 pages from 0x20000 on with one pattern, says K, and then rewrites
 * one after the other and checks all, for ever: a dot for each round, an X for
 * a wrong one.
 */
#define PATTERN 0x5a5a1234
#define SERIAL 0x3f8

	.code16
	.globl _start
_start:
	cli
	cld
	movw $0x2000, %ax
	movw %ax, %ds
	movw %ax, %es
	xorw %di, %di
	movl $PATTERN, %eax
	movw $16384, %cx
	rep stosl
	movb $'K', %bl
	xorw %bp, %bp
say:
	movw $SERIAL, %dx
	movb %bl, %al
	outb %al, %dx
	movw %bp, %di
	addw $0x1000, %bp
	movl $PATTERN, %eax
	movw $1024, %cx
	rep stosl
	xorw %si, %si
	movw $16384, %cx
	movb $'.', %bl
check:
	lodsl
	cmpl $PATTERN, %eax
	je good
	movb $'X', %bl
good:
	decw %cx
	jnz check
	jmp say

	.org 0xfff0
	ljmp $0xf000, $0
	.org 0x10000
