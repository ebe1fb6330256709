/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VMM's own structs. No locks: an object is changed by one thread at a
 * time (twinfold/vmm.h), and what a vCPU's thread shares is atomic.
 */
#ifndef TF_VMM_INTERNAL_H
#define TF_VMM_INTERNAL_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "twinfold/vmm.h"

#define TF_VM_RAM_MAX 8
#define TF_VM_RAM_ALIGN ((size_t)2 << 20)

/* KVM keeps four pages here on Intel hosts; RAM must end below. */
#define TF_VM_TSS_GPA UINT64_C(0xfffbd000)

#define TF_VCPU_KICK (SIGRTMIN + 3)

struct tf_ram {
	uint64_t gpa;
	size_t bytes;
	char *hva;
};

struct tf_vm {
	int kvm_fd; /* -1 without KVM, as vm_fd */
	int vm_fd;
	size_t run_bytes; /* of a vCPU's struct kvm_run */
	struct tf_guest *guest;
	struct tf_engine *engine; /* with healing, or NULL */
	unsigned nram;
	unsigned nvcpus;
	struct tf_ram ram[TF_VM_RAM_MAX];
};

struct kvm_run;

struct tf_vcpu {
	struct tf_vm *vm;
	int fd;
	struct kvm_run *run;
	struct tf_vcpu_opts opts;
	pthread_t thread;
	bool joinable; /* owner only: the thread has not been joined */
	atomic_bool stop;
	atomic_int state;
	/* Written by the vCPU's thread before the state becomes FAILED. */
	char why[200];
};

/* Unmap RAM, deleting its memslots from the engine's guest first. */
void tf_vm_free_ram(struct tf_vm *vm);

/*
 * Act on one exit from the guest, in the vCPU's thread. Returns the state to
 * go on with: RUNNING, HALTED or FAILED (`why` is set).
 */
enum tf_vcpu_state tf_vcpu_exit(struct tf_vcpu *vcpu);

/* RAM at `gpa` could not be accessed: heal it, or tell the guest. As
 * tf_vcpu_exit(). */
enum tf_vcpu_state tf_vcpu_poisoned(struct tf_vcpu *vcpu, uint64_t gpa,
				    char *hva);

/* Give the vCPU machine checks. */
int tf_vcpu_setup_mce(struct tf_vcpu *vcpu);

/* Set `why`. Returns TF_VCPU_FAILED. */
enum tf_vcpu_state tf_vcpu_fail(struct tf_vcpu *vcpu, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
