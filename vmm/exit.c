/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Why a guest left KVM_RUN, and what is done about it. Runs in the vCPU's
 * thread. Port I/O goes to the owner's callbacks; whatever this VMM has no
 * device for ends the vCPU with one line that names the address.
 */
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/internal.h"

static void one_port(const struct tf_vcpu *vcpu, char *data)
{
	const struct kvm_run *run = vcpu->run;
	uint32_t value = 0;

	if (run->io.direction == KVM_EXIT_IO_OUT) {
		memcpy(&value, data, run->io.size);
		vcpu->opts.out(vcpu->opts.user, run->io.port, value);
		return;
	}
	value = vcpu->opts.in(vcpu->opts.user, run->io.port);
	memcpy(data, &value, run->io.size);
}

/* A string instruction does several accesses in one exit. */
static enum tf_vcpu_state port_io(const struct tf_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char *data = (char *)vcpu->run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++)
		one_port(vcpu, data + i * run->io.size);
	return TF_VCPU_RUNNING;
}

/*
 * KVM answers an access that it cannot map with an MMIO exit. Outside RAM
 * that is a guest's mistake. Inside RAM it is how a KVM that emulates
 * instructions reports a page that cannot be read: a poison suspect.
 */
static enum tf_vcpu_state memory_access(struct tf_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	uint64_t gpa = run->mmio.phys_addr;
	const char *what = run->mmio.is_write ? "write to" : "read of";
	char *hva = tf_vm_hva(vcpu->vm, gpa, run->mmio.len);

	if (hva)
		return tf_vcpu_poisoned(vcpu, gpa, hva);
	return tf_vcpu_fail(vcpu, "%s gpa 0x%" PRIx64 ", which is not RAM",
			    what, gpa);
}

static enum tf_vcpu_state fail_at_rip(struct tf_vcpu *vcpu, const char *what,
				      unsigned number)
{
	struct kvm_regs regs;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		return tf_vcpu_fail(vcpu, "%s %u", what, number);
	return tf_vcpu_fail(vcpu, "%s %u at rip 0x%llx", what, number,
			    regs.rip);
}

enum tf_vcpu_state tf_vcpu_exit(struct tf_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return port_io(vcpu);
	case KVM_EXIT_INTR:
		return TF_VCPU_RUNNING;
	case KVM_EXIT_HLT:
		return TF_VCPU_HALTED;
	case KVM_EXIT_MMIO:
		return memory_access(vcpu);
	case KVM_EXIT_SHUTDOWN:
		return fail_at_rip(vcpu, "triple fault, exit",
				   run->exit_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
		    tf_vcpu_fetch_healed(vcpu))
			return TF_VCPU_RUNNING;
		return fail_at_rip(vcpu, "KVM internal error",
				   run->internal.suberror);
	case KVM_EXIT_FAIL_ENTRY:
		return fail_at_rip(
			vcpu, "the CPU refused the guest's state, reason",
			(unsigned)run->fail_entry.hardware_entry_failure_reason);
	default:
		return fail_at_rip(vcpu, "unexpected KVM exit",
				   run->exit_reason);
	}
}
