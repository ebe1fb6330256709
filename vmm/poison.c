/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's access to RAM that KVM could not carry out. Where KVM emulates
 * instructions that is how a lost page shows: as an MMIO exit inside a
 * memslot. The engine heals the page, and the access is carried out here; or
 * the data is gone, and the guest gets a machine check. Runs in the vCPU's
 * thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "twinfold/ras.h"
#include "vmm/internal.h"

/* As the kernel says it of memory that a thread has consumed. */
#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR 4
#endif

#define MCE_BANKS 10u
#define MCG_CTL_P (UINT64_C(1) << 8)
#define MCG_SER_P (UINT64_C(1) << 24)

int tf_vcpu_setup_mce(struct tf_vcpu *vcpu)
{
	uint64_t cap = 0;

	if (ioctl(vcpu->vm->kvm_fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap))
		return -errno;
	cap = (cap & (MCG_CTL_P | MCG_SER_P)) | MCE_BANKS;
	return ioctl(vcpu->fd, KVM_X86_SETUP_MCE, &cap) ? -errno : 0;
}

/* The access that KVM left undone; KVM goes on behind it. */
static void finish_access(const struct tf_vcpu *vcpu, char *hva)
{
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write)
		memcpy(hva, run->mmio.data, run->mmio.len);
	else
		memcpy(run->mmio.data, hva, run->mmio.len);
}

static enum tf_vcpu_state raise_mce(struct tf_vcpu *vcpu, uint64_t gpa)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	int r = tf_ras_take_vmce(vcpu->vm->engine, gettid(), &vmce);

	if (!r)
		r = tf_ras_vmce_kvm(vcpu->fd, &vmce);
	if (r == -ENOTSUP)
		return tf_vcpu_fail(vcpu,
				    "gpa 0x%" PRIx64 " is lost and the guest "
				    "has machine checks off: it is stopped",
				    gpa);
	if (r)
		return tf_vcpu_fail(vcpu,
				    "gpa 0x%" PRIx64 " is lost and the guest "
				    "cannot be told: %s",
				    gpa, strerror(-r));
	memset(vcpu->run->mmio.data, 0xff, sizeof(vcpu->run->mmio.data));
	return TF_VCPU_RUNNING;
}

enum tf_vcpu_state tf_vcpu_poisoned(struct tf_vcpu *vcpu, uint64_t gpa,
				    char *hva)
{
	siginfo_t info = { .si_signo = SIGBUS,
			   .si_code = BUS_MCEERR_AR,
			   .si_addr = hva };
	struct tf_ras_verdict v = { .size = sizeof(v) };
	int r = -ENODEV;

	if (vcpu->vm->engine)
		r = tf_ras_handle(vcpu->vm->engine, &info, &v);
	if (r)
		return tf_vcpu_fail(vcpu,
				    "%s gpa 0x%" PRIx64 " inside a memslot "
				    "was refused: the page may be poisoned "
				    "(%s)",
				    vcpu->run->mmio.is_write ? "write to" :
							       "read of",
				    gpa, strerror(-r));
	if (v.cls == TF_RAS_PRIVATE)
		return raise_mce(vcpu, gpa);
	finish_access(vcpu, hva);
	return TF_VCPU_RUNNING;
}
