/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's access to RAM that KVM could not carry out, and machine checks in
 * a vCPU. Where KVM emulates instructions a lost page shows as an MMIO exit
 * inside a memslot: the engine heals the page, and the access is carried out
 * here; or the data is gone, and the guest gets a machine check behind the
 * access, which saw all ones. Where it does not, KVM_RUN was interrupted by
 * SIGBUS, and the machine check waits. Runs in the vCPU's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
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

/* How long a vCPU waits, about, for its guest to give up a page that another
 * vCPU was told of; then it is told as well. */
#define GIVE_UP_MS 1000

int tf_vcpu_setup_mce(struct tf_vcpu *vcpu)
{
	uint64_t cap = 0;

	if (ioctl(vcpu->vm->kvm_fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap))
		return -errno;
	cap = (cap & (MCG_CTL_P | MCG_SER_P)) | MCE_BANKS;
	return ioctl(vcpu->fd, KVM_X86_SETUP_MCE, &cap) ? -errno : 0;
}

static enum tf_vcpu_state cannot_tell(struct tf_vcpu *vcpu, uint64_t gpa, int r)
{
	if (r == -ENOTSUP)
		return tf_vcpu_fail(vcpu,
				    "gpa 0x%" PRIx64 " is lost and the guest "
				    "has machine checks off: it is stopped",
				    gpa);
	return tf_vcpu_fail(vcpu,
			    "gpa 0x%" PRIx64 " is lost and the guest "
			    "cannot be told: %s",
			    gpa, strerror(-r));
}

/* One at a time: the next waits until the guest has cleared MCIP. What a guest
 * has not touched yet waits until it turns machine checks on. */
enum tf_vcpu_state tf_vcpu_tell(struct tf_vcpu *vcpu)
{
	struct tf_vmce vmce;
	int r;

	tf_mce_collect(vcpu->vm->engine);
	if (!tf_mce_take(vcpu->vm, gettid(), &vmce))
		return TF_VCPU_RUNNING;
	r = tf_ras_vmce_kvm(vcpu->fd, &vmce);
	if (!r)
		return TF_VCPU_RUNNING;
	tf_mce_put_back(vcpu->vm, vmce.gpa);
	if (r == -EBUSY || (r == -ENOTSUP && !vmce.action_required))
		return TF_VCPU_RUNNING;
	return cannot_tell(vcpu, vmce.gpa, r);
}

/* The access that KVM left undone; KVM goes on behind it. */
static enum tf_vcpu_state finish_access(const struct tf_vcpu *vcpu, char *hva)
{
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write)
		memcpy(hva, run->mmio.data, run->mmio.len);
	else
		memcpy(run->mmio.data, hva, run->mmio.len);
	return TF_VCPU_RUNNING;
}

/* The machine check is raised before the guest's next instruction. */
static enum tf_vcpu_state all_ones(const struct tf_vcpu *vcpu)
{
	memset(vcpu->run->mmio.data, 0xff, sizeof(vcpu->run->mmio.data));
	return TF_VCPU_RUNNING;
}

/* What became of it since `before`, a moment before the engine was asked. */
static enum tf_vcpu_state page_is_lost(struct tf_vcpu *vcpu, uint64_t gpa,
				       char *hva, uint64_t before)
{
	static const struct timespec nap = { .tv_nsec = 1000000 };
	uint64_t page = gpa & ~(uint64_t)(TF_PAGE_SIZE - 1);

	for (int i = 0; i < GIVE_UP_MS && !atomic_load(&vcpu->stop); i++) {
		enum tf_mce_about now;

		tf_mce_collect(vcpu->vm->engine);
		now = tf_mce_about(vcpu->vm, page, gettid(), before);
		if (now == TF_MCE_OURS)
			return all_ones(vcpu);
		if (now == TF_MCE_GIVEN_UP)
			return finish_access(vcpu, hva);
		nanosleep(&nap, NULL);
	}
	if (tf_mce_claim(vcpu->vm, page, gettid()))
		return all_ones(vcpu);
	return cannot_tell(vcpu, gpa, -EAGAIN);
}

static int ask_engine(const struct tf_vcpu *vcpu, void *hva,
		      struct tf_ras_verdict *v)
{
	siginfo_t info = { .si_signo = SIGBUS,
			   .si_code = BUS_MCEERR_AR,
			   .si_addr = hva };

	*v = (struct tf_ras_verdict){ .size = sizeof(*v) };
	return vcpu->vm->engine ? tf_ras_handle(vcpu->vm->engine, &info, v) :
				  -ENODEV;
}

enum tf_vcpu_state tf_vcpu_poisoned(struct tf_vcpu *vcpu, uint64_t gpa,
				    char *hva)
{
	uint64_t before = tf_mce_moment(vcpu->vm);
	struct tf_ras_verdict v;
	int r = ask_engine(vcpu, hva, &v);

	if (r)
		return tf_vcpu_fail(vcpu,
				    "%s gpa 0x%" PRIx64 " inside a memslot "
				    "was refused: the page may be poisoned "
				    "(%s)",
				    vcpu->run->mmio.is_write ? "write to" :
							       "read of",
				    gpa, strerror(-r));
	if (v.cls == TF_RAS_PRIVATE)
		return page_is_lost(vcpu, gpa, hva, before);
	return finish_access(vcpu, hva);
}

/* Bytes of the longest instruction (Intel SDM vol. 2, section 2.3.11). */
#define INSTRUCTION_MAX 15u

/* Then it is not the page that is in the way. */
#define REFETCHES 8u

static bool page_healed(const struct tf_vcpu *vcpu, uint64_t linear)
{
	struct kvm_translation t = { .linear_address = linear };
	struct tf_ras_verdict v;
	char *hva;

	if (ioctl(vcpu->fd, KVM_TRANSLATE, &t) || !t.valid)
		return false;
	hva = tf_vm_hva(vcpu->vm, t.physical_address, 1);
	return hva && !ask_engine(vcpu, hva, &v) &&
	       (v.cls == TF_RAS_SHARED || v.cls == TF_RAS_RECOVERABLE);
}

bool tf_vcpu_fetch_healed(struct tf_vcpu *vcpu)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	uint64_t at;
	bool healed;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) ||
	    ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return false;
	at = sregs.cs.base + regs.rip;
	vcpu->refetches = at == vcpu->refetched ? vcpu->refetches + 1 : 0;
	vcpu->refetched = at;
	if (vcpu->refetches >= REFETCHES)
		return false;
	healed = page_healed(vcpu, at);
	return page_healed(vcpu, at + INSTRUCTION_MAX - 1) || healed;
}
