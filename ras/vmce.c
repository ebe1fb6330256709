/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machine checks that wait for their guests, and raising one in a guest of
 * KVM. The queue is put to by the healer, taken from by run loops.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "ras/internal.h"

static struct tf_vmce *pending(struct tf_ras *ras, const struct tf_guest *guest,
			       uint64_t gpa)
{
	for (unsigned i = 0; i < ras->nvmces; i++)
		if (ras->vmce[i].guest == guest && ras->vmce[i].gpa == gpa)
			return &ras->vmce[i];
	return NULL;
}

/* A guest that is told of a page twice is told once; the stronger word wins. */
static bool put(struct tf_ras *ras, const struct tf_vmce *new)
{
	struct tf_vmce *old;
	TF_LOCKED(&ras->vmce_lock);

	old = pending(ras, new->guest, new->gpa);
	if (old) {
		if (new->action_required && !old->action_required)
			*old = *new;
		return false;
	}
	if (ras->nvmces == RAS_VMCES) {
		tf_log(&ras->engine->log, TF_LOG_ERR,
		       "a vMCE for gpa %#llx is dropped: %u wait already",
		       (unsigned long long)new->gpa, RAS_VMCES);
		return false;
	}
	ras->vmce[ras->nvmces++] = *new;
	return true;
}

void ras_vmce_post(struct tf_ras *ras, struct tf_guest *guest, uint64_t gpa,
		   bool required, pid_t tid)
{
	struct tf_engine *e = ras->engine;
	struct tf_vmce new = { .size = sizeof(new),
			       .guest = guest,
			       .gpa = gpa,
			       .action_required = required,
			       .tid = tid };

	if (!put(ras, &new))
		return;
	e->n.vmces++;
	if (ras->vmce_eventfd >= 0)
		e->os->signal(e->os, ras->vmce_eventfd);
}

void ras_vmce_forget(struct tf_ras *ras, const struct tf_guest *guest)
{
	unsigned kept = 0;
	TF_LOCKED(&ras->vmce_lock);

	for (unsigned i = 0; i < ras->nvmces; i++)
		if (ras->vmce[i].guest != guest)
			ras->vmce[kept++] = ras->vmce[i];
	ras->nvmces = kept;
}

/* The oldest for this very thread, or else for no particular one. */
static unsigned choose(const struct tf_ras *ras, pid_t tid)
{
	unsigned any = ras->nvmces;

	for (unsigned i = 0; i < ras->nvmces; i++) {
		if (!tid || ras->vmce[i].tid == tid)
			return i;
		if (!ras->vmce[i].tid && any == ras->nvmces)
			any = i;
	}
	return any;
}

static bool take(struct tf_ras *ras, pid_t tid, struct tf_vmce *ret)
{
	unsigned i;
	TF_LOCKED(&ras->vmce_lock);

	i = choose(ras, tid);
	if (i == ras->nvmces)
		return false;
	*ret = ras->vmce[i];
	memmove(&ras->vmce[i], &ras->vmce[i + 1],
		(ras->nvmces - i - 1) * sizeof(*ret));
	ras->nvmces--;
	return true;
}

int tf_ras_take_vmce(struct tf_engine *e, pid_t tid, struct tf_vmce *ret)
{
	struct tf_ras *ras = ras_enter(e);
	bool any;

	if (!ras)
		return -ENODEV;
	any = take(ras, tid, ret);
	ras_leave(ras);
	return any ? 0 : -EAGAIN;
}

#define CR4_MCE (UINT64_C(1) << 6)
#define MSR_MCG_STATUS 0x17au
#define MCG_STATUS_MCIP (UINT64_C(1) << 2)
#define CPUID_ENTRIES 128

/* Bank and values as QEMU raises them (target/i386/kvm/kvm.c). */
#define BANK 9
#define MISC_PHYSICAL_4K 0x8c /* address is physical, to 4 KiB */
#define INTEL_REQUIRED UINT64_C(0xbd80000000000134)
#define INTEL_OPTIONAL UINT64_C(0xbd000000000000c0)
#define AMD_REQUIRED UINT64_C(0xbc00080000000000)
#define AMD_OPTIONAL UINT64_C(0x9c00180000000000)
#define MCG_REQUIRED 7 /* RIPV, EIPV, MCIP */
#define MCG_OPTIONAL 5 /* RIPV, MCIP */

static int vcpu_call(int vcpu_fd, unsigned long request, void *arg)
{
	return tf_os_linux.control(&tf_os_linux, vcpu_fd, request, arg);
}

static bool vendor_is_amd(int vcpu_fd)
{
	struct kvm_cpuid2 *cpuid = calloc(
		1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	bool amd = false;

	if (!cpuid)
		return false;
	cpuid->nent = CPUID_ENTRIES;
	if (!vcpu_call(vcpu_fd, KVM_GET_CPUID2, cpuid))
		for (unsigned i = 0; i < cpuid->nent; i++)
			if (!cpuid->entries[i].function)
				amd = cpuid->entries[i].ebx ==
				      0x68747541; /* "Auth"enticAMD */
	free(cpuid);
	return amd;
}

static int read_msr(int vcpu_fd, uint32_t index, uint64_t *value)
{
	union {
		struct kvm_msrs msrs;
		char room[sizeof(struct kvm_msrs) +
			  sizeof(struct kvm_msr_entry)];
	} arg = { .msrs = { .nmsrs = 1 } };

	arg.msrs.entries[0].index = index;
	if (vcpu_call(vcpu_fd, KVM_GET_MSRS, &arg) != 1)
		return -EIO;
	*value = arg.msrs.entries[0].data;
	return 0;
}

static int may_raise(int vcpu_fd)
{
	struct kvm_sregs sregs;
	uint64_t mcg = 0;
	int err = vcpu_call(vcpu_fd, KVM_GET_SREGS, &sregs);

	if (err)
		return err;
	if (!(sregs.cr4 & CR4_MCE))
		return -ENOTSUP;
	err = read_msr(vcpu_fd, MSR_MCG_STATUS, &mcg);
	if (err)
		return err;
	return mcg & MCG_STATUS_MCIP ? -EBUSY : 0;
}

int tf_ras_vmce_kvm(int vcpu_fd, const struct tf_vmce *vmce)
{
	bool amd = vendor_is_amd(vcpu_fd);
	struct kvm_x86_mce mce = { .bank = BANK,
				   .addr = vmce->gpa,
				   .misc = MISC_PHYSICAL_4K };
	int err = may_raise(vcpu_fd);

	if (err)
		return err;
	if (vmce->action_required) {
		mce.status = amd ? AMD_REQUIRED : INTEL_REQUIRED;
		mce.mcg_status = MCG_REQUIRED;
	} else {
		mce.status = amd ? AMD_OPTIONAL : INTEL_OPTIONAL;
		mce.mcg_status = MCG_OPTIONAL;
	}
	return vcpu_call(vcpu_fd, KVM_X86_SET_MCE, &mce);
}
