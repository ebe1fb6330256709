/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VMM's own structs. No locks but that of mce.c: an object is changed by
 * one thread at a time (twinfold/vmm.h), and what a vCPU's thread shares is
 * atomic.
 */
#ifndef TF_VMM_INTERNAL_H
#define TF_VMM_INTERNAL_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/base/list.h"
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
	/* mce.c, under its lock. */
	struct tf_list link;
	struct tf_list vcpus; /* whose threads run */
	struct tf_list mces;  /* machine checks, oldest page first */
	uint64_t given_up;    /* pages, so far */
};

struct kvm_run;
struct tf_vmce;

struct tf_vcpu {
	struct tf_vm *vm;
	int fd;
	struct kvm_run *run;
	struct tf_vcpu_opts opts;
	pthread_t thread;
	bool joinable; /* owner only: the thread has not been joined */
	atomic_bool stop;
	atomic_int state;
	struct tf_list link; /* in vm->vcpus ... */
	pid_t tid;           /* ... with this thread; mce.c, under its lock */
	uint64_t refetched; /* its thread's: where instructions were lost ... */
	unsigned refetches; /* ... and how often in a row */
	/* Written by the vCPU's thread before the state becomes FAILED. */
	char why[200];
};

/* The page at `hva` reads as zeros from now on. */
int tf_vm_discard(struct tf_vm *vm, uint64_t gpa, char *hva);

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

/* An instruction could not be emulated. True: it lay in a page that was lost,
 * and can be fetched now. */
bool tf_vcpu_fetch_healed(struct tf_vcpu *vcpu);

/* ---- mce.c: machine checks on their way to the VM ---- */

void tf_mce_join(struct tf_vm *vm);
void tf_mce_leave(struct tf_vm *vm);
/* This vCPU's thread runs it from now on, or no more. */
void tf_mce_vcpu_join(struct tf_vcpu *vcpu);
void tf_mce_vcpu_leave(struct tf_vcpu *vcpu);

/* Fetch what waits in the engine for this thread, or for nobody in particular,
 * and hand it to the VMs that it is for. */
void tf_mce_collect(struct tf_engine *engine);

/* The next machine check that thread `tid` is to raise: first one that its
 * guest cannot go on without, then the oldest. False: none. */
bool tf_mce_take(struct tf_vm *vm, pid_t tid, struct tf_vmce *ret);
/* It could not be raised: it waits where it was. */
void tf_mce_put_back(struct tf_vm *vm, uint64_t gpa);

/* What is known of a page. */
enum tf_mce_about {
	TF_MCE_NONE,
	TF_MCE_OURS,     /* tf_mce_take() will find it */
	TF_MCE_OTHERS,   /* another vCPU is told of it, or was */
	TF_MCE_GIVEN_UP, /* since a moment: it can be accessed again */
};
uint64_t tf_mce_moment(struct tf_vm *vm);
enum tf_mce_about tf_mce_about(struct tf_vm *vm, uint64_t gpa, pid_t tid,
			       uint64_t since);
/* Make it this thread's, though another was told. False: there is none. */
bool tf_mce_claim(struct tf_vm *vm, uint64_t gpa, pid_t tid);

/* ---- poison.c ---- */

/* Give the vCPU machine checks. */
int tf_vcpu_setup_mce(struct tf_vcpu *vcpu);

/* Raise what waits for the guest. As tf_vcpu_exit(). */
enum tf_vcpu_state tf_vcpu_tell(struct tf_vcpu *vcpu);

/* Set `why`. Returns TF_VCPU_FAILED. */
enum tf_vcpu_state tf_vcpu_fail(struct tf_vcpu *vcpu, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
