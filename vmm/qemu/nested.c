/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests of the guest. Before Linux 6.13 KVM holds the pages that describe
 * them by plain references, which the fence does not see: a guest whose CPU
 * can have such guests is not merged there. No lock.
 */
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "vmm/qemu/preload.h"

#define CPUID_1_ECX_VMX (1u << 5)
#define CPUID_80000001_ECX_SVM (1u << 2)

static bool is_older_than_6_13(void)
{
	struct utsname u;
	unsigned major, minor;

	return uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2 ||
	       major < 6 || (major == 6 && minor < 13);
}

static bool has_guests(const struct kvm_cpuid_entry2 *e)
{
	return (e->function == 1 && e->ecx & CPUID_1_ECX_VMX) ||
	       (e->function == 0x80000001 && e->ecx & CPUID_80000001_ECX_SVM);
}

void tq_nested_check(const struct kvm_cpuid2 *cpuid)
{
	for (unsigned i = 0; i < cpuid->nent; i++)
		if (has_guests(&cpuid->entries[i]) && is_older_than_6_13()) {
			tq_scan_forbid("its CPU has vmx or svm, and KVM does "
				       "not pin pages for nested guests before "
				       "Linux 6.13; use -cpu ...,-vmx,-svm");
			return;
		}
}
