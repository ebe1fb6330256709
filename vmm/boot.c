/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A vCPU's registers at its start: 32-bit protected mode, flat segments, no
 * paging. The guest's memory is not touched: KVM keeps segments as it was
 * told, and a guest that takes exceptions loads a GDT of its own.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/internal.h"

#define CR0_PE 1u
#define RFLAGS_FIXED 2u /* bit 1 is always set */

/* Segment types: Intel SDM volume 3, table 3-1. */
#define TYPE_CODE 11 /* execute, read, accessed */
#define TYPE_DATA 3  /* read, write, accessed */

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
	struct kvm_segment seg = {
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};

	return seg;
}

static int set_segments(const struct tf_vcpu *vcpu)
{
	struct kvm_segment data = flat_segment(0x10, TYPE_DATA);
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cs = flat_segment(0x08, TYPE_CODE);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 |= CR0_PE;
	return ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) ? -errno : 0;
}

int tf_vcpu_boot32(struct tf_vcpu *vcpu, uint32_t entry, uint32_t stack)
{
	struct kvm_regs regs = {
		.rip = entry,
		.rsp = stack,
		.rflags = RFLAGS_FIXED,
	};
	int r;

	if (tf_vcpu_state(vcpu) == TF_VCPU_RUNNING)
		return -EBUSY;
	r = set_segments(vcpu);
	if (r)
		return r;
	return ioctl(vcpu->fd, KVM_SET_REGS, &regs) ? -errno : 0;
}
