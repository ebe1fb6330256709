/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twinfold/vmm.h - the lightweight VMM: a KVM virtual machine with RAM and
 * vCPUs, and a workload that checks every page of its own memory.
 *
 * The rules of twinfold/engine.h hold here too: errors are negative errno
 * values, parameters named `ret` come last and are untouched on failure,
 * every struct starts with `size_t size`, sizes are bytes and multiples of
 * TF_PAGE_SIZE.
 *
 * Threads: one thread at a time may call the functions that change an object
 * (create, add, start, stop, destroy). The functions that only read a state
 * (tf_vm_hva, tf_vcpu_state, tf_work_report) may be called from any thread.
 *
 * A vCPU is interrupted with the signal SIGRTMIN+3; its handler is set by
 * tf_vm_create() for the whole process.
 */
#ifndef TWINFOLD_VMM_H
#define TWINFOLD_VMM_H

#include <stddef.h>
#include <stdint.h>

#include "twinfold/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tf_vm;
struct tf_vcpu;
struct tf_work;

enum tf_backend {
	TF_BACKEND_KVM,    /* guest code runs on a vCPU */
	TF_BACKEND_THREAD, /* no virtual machine: RAM only, no vCPUs */
};

/* ---- virtual machine and its RAM ---- */

struct tf_vm_opts {
	size_t size;
	enum tf_backend backend;
	/* Every memslot is registered with this guest as well, and deleted
	 * from it by tf_vm_destroy(). It must outlive the VM. NULL: none. */
	struct tf_guest *guest;
	/* That guest's engine, if tf_ras_install() was called for it: lost
	 * pages heal, or the guest gets a machine check. All guests of such an
	 * engine must be VMs of this VMM. NULL: a vCPU that touches a lost
	 * page fails. */
	struct tf_engine *engine;
};

/*
 * Create a VM without RAM. `opts` NULL: KVM, no engine. The caller owns it
 * and ends it with tf_vm_destroy().
 * ENOENT, EACCES, ENODEV: /dev/kvm cannot be opened. EOPNOTSUPP: this KVM
 * lacks something the VMM needs. EINVAL, ENOMEM.
 */
int tf_vm_create(const struct tf_vm_opts *opts, struct tf_vm **ret);

/* End a VM and unmap its RAM. Its vCPUs must be destroyed. NULL is fine. */
void tf_vm_destroy(struct tf_vm *vm);

/*
 * Give the VM zeroed RAM at guest physical address `gpa`: private anonymous
 * memory, aligned to 2 MiB, without huge pages. Becomes the next memslot.
 * ENOSPC: no memslot left. Else what KVM or tf_guest_add_memslot() says;
 * the VM is then as before.
 */
int tf_vm_add_ram(struct tf_vm *vm, uint64_t gpa, size_t bytes);

/*
 * Where [gpa, gpa + bytes) is in this process; NULL when it is not wholly
 * inside one memslot. Valid until tf_vm_destroy().
 */
void *tf_vm_hva(const struct tf_vm *vm, uint64_t gpa, size_t bytes);

/* ---- machine checks ---- */

/*
 * Hand the machine checks that wait in the engine to the VMs they are for, and
 * interrupt guests that have one to take: call it when tf_ras_opts.vmce_eventfd
 * is readable, or now and then. A vCPU does the same whenever its guest leaves
 * it, so that only one that does not leave waits for this call. A guest gets
 * the next one when it has cleared MCIP. From any thread, any time between
 * tf_ras_install() and tf_ras_uninstall().
 */
void tf_vm_deliver_vmces(struct tf_engine *engine);

/*
 * The guest gives up the page at `gpa`: because it was told that it is lost, or
 * as a balloon does. It reads as zeros from then on.
 * EINVAL: unaligned. ENOENT: not RAM. Else as tf_guest_discard().
 */
int tf_vm_give_up(struct tf_vm *vm, uint64_t gpa);

/* ---- vCPU ---- */

enum tf_vcpu_state {
	TF_VCPU_STOPPED, /* not started yet, or stopped by its owner */
	TF_VCPU_RUNNING,
	TF_VCPU_HALTED, /* the guest executed HLT: its work is done */
	TF_VCPU_FAILED, /* it cannot go on; tf_vcpu_why() says why */
};

/*
 * Port I/O of the guest, called in the vCPU's thread. They may read guest
 * memory, must not block for long, and must not call tf_vcpu_stop().
 */
struct tf_vcpu_opts {
	size_t size;
	void (*out)(void *user, uint16_t port, uint32_t value);
	uint32_t (*in)(void *user, uint16_t port);
	void *user;
};

/*
 * Create a vCPU; `opts` is copied, both callbacks are required. The caller
 * owns it and ends it with tf_vcpu_destroy(), before its VM.
 * ENODEV: the VM has no KVM. EINVAL, ENOMEM, or what KVM says.
 */
int tf_vcpu_create(struct tf_vm *vm, const struct tf_vcpu_opts *opts,
		   struct tf_vcpu **ret);

/* Stop it and end it. NULL is fine. */
void tf_vcpu_destroy(struct tf_vcpu *vcpu);

/*
 * Set the registers for 32-bit protected mode without paging, flat segments
 * (code 0x08, data 0x10), interrupts off, at `entry` with stack `stack`.
 * EBUSY: it is running.
 */
int tf_vcpu_boot32(struct tf_vcpu *vcpu, uint32_t entry, uint32_t stack);

/*
 * Run in a thread of its own. A stopped vCPU goes on where it was.
 * EALREADY: it is running. EPERM: it has halted or failed. EAGAIN.
 */
int tf_vcpu_start(struct tf_vcpu *vcpu);

/*
 * Interrupt the guest and wait until its thread has left it. Takes as long
 * as a port callback takes at most. 0 also when it was not running.
 */
int tf_vcpu_stop(struct tf_vcpu *vcpu);

enum tf_vcpu_state tf_vcpu_state(const struct tf_vcpu *vcpu);

/*
 * One line about a vCPU in TF_VCPU_FAILED: what the guest did, at which
 * address. Empty in every other state. Lives as long as the vCPU.
 */
const char *tf_vcpu_why(const struct tf_vcpu *vcpu);

/* ---- the checking workload ---- */

/*
 * A workload owns a VM with two memslots and a hole between them. It fills
 * its pages with contents of enum tf_work_kind, keeps writing to a part of
 * them, and compares page after page with what it wrote itself. Its code is
 * vmm/payload/: with TF_BACKEND_KVM it runs on the vCPU, with
 * TF_BACKEND_THREAD in a thread.
 *
 * When it is told that a page is lost (a machine check on the vCPU; in a
 * thread, when it next calls its host) it gives the page up, writes it anew,
 * and goes on.
 *
 * Its phases, in this order, each entered by tf_work_command():
 */
enum tf_work_phase {
	TF_WORK_BOOT = 0,
	TF_WORK_FILL = 1,      /* write every page once */
	TF_WORK_RUN = 2,       /* check all pages in turn, and write to some */
	TF_WORK_OVERWRITE = 3, /* write to every page that is not unique, in
				* whole or in one word; then check all pages
				* in turn */
	TF_WORK_DONE = 4,
};

#define TF_WORK_PHASES 5
#define TF_WORK_BAD_MAX 8

struct tf_work_opts {
	size_t size;
	enum tf_backend backend;
	/* 1 to 65535; two workloads that share pages need different ids. */
	unsigned id;
	/* RAM, from TF_WORK_MEM_MIN to TF_WORK_MEM_MAX. */
	size_t bytes;
	/* Passed on to tf_vm_opts. */
	struct tf_guest *guest;
	struct tf_engine *engine;
	/* Nonzero: the guest keeps machine checks off (CR4.MCE). */
	int deaf;
};

#define TF_WORK_MEM_MIN ((size_t)2 << 20)
#define TF_WORK_MEM_MAX ((size_t)1 << 30)

/* The upper memslot starts here; the lower one starts at 0. */
#define TF_WORK_HIGH_GPA UINT64_C(0x40000000)

struct tf_work_report {
	size_t size;
	enum tf_work_phase phase; /* the last one entered ... */
	int ready;                /* ... and whether its writing is over */
	uint64_t pages;           /* pages that are filled and checked */
	uint64_t pages_ram;       /* pages of RAM, its own tables included */
	uint64_t filled;          /* pages written by TF_WORK_FILL so far */
	uint64_t first_gpa;       /* of the first checked page */
	/* One check is one whole page compared with what was written. */
	uint64_t checks;
	uint64_t failures; /* checks that found a wrong byte */
	uint64_t writes;   /* pages written, in whole or in part */
	/* How often every page was checked, by phase. */
	uint64_t rounds[TF_WORK_PHASES];
	/* Of the first failures: where the page's first wrong byte is. */
	uint64_t bad_gpa[TF_WORK_BAD_MAX];
	uint64_t wrong_bytes; /* in all failed checks */
	uint64_t lost_writes; /* failed checks: what was there was older */
	uint64_t mces;        /* machine checks taken */
	uint64_t lost_pages;  /* given up after one, and written anew */
	/* Nonzero: it ended without being told to, see tf_work_why(). */
	int died;
};

/*
 * Create a workload with its VM, ready to be started. The caller owns it.
 * EINVAL: an option out of range. Else as tf_vm_create(), tf_vm_add_ram()
 * and tf_vcpu_create().
 */
int tf_work_create(const struct tf_work_opts *opts, struct tf_work **ret);

/* Stop it, end it, unmap its RAM. NULL is fine. */
void tf_work_destroy(struct tf_work *work);

/* Start it, in phase TF_WORK_BOOT. Once. EALREADY, EAGAIN. */
int tf_work_start(struct tf_work *work);

/* Ask for a phase; returns at once. EINVAL: no such phase, or an earlier one. */
int tf_work_command(struct tf_work *work, enum tf_work_phase phase);

/*
 * Stop it for good, in whatever phase it is. Its RAM and its last report
 * stay. The report is exact then, and up to 32 checks behind before.
 */
int tf_work_stop(struct tf_work *work);

/* Read its counters; `ret->size` must be set. EINVAL. */
int tf_work_report(struct tf_work *work, struct tf_work_report *ret);

/* A machine check that the guest took. */
struct tf_work_mce {
	size_t size;
	uint64_t gpa; /* of the page */
	int required; /* it had touched the page */
};

/*
 * The oldest machine check that the guest says it took and that was not
 * returned before; `ret->size` must be set. EAGAIN: none. EINVAL.
 */
int tf_work_take_mce(struct tf_work *work, struct tf_work_mce *ret);

enum tf_work_kind {
	TF_WORK_UNIQUE = 0, /* nowhere else */
	TF_WORK_COMMON = 1, /* several times, and in every workload */
	TF_WORK_ZERO = 2,
	TF_WORK_TWIN = 3, /* in TF_WORK_TWINS pages of this workload */
};

#define TF_WORK_TWINS 2

struct tf_work_page {
	size_t size;
	uint64_t gpa;
	enum tf_work_kind kind;
	/* Equal for two pages of a kind (and, but for common ones, of one
	 * workload) just if they hold the same bytes. */
	uint64_t content;
	int hot; /* written to in TF_WORK_RUN: none of this lasts */
};

/*
 * What the guest wrote to its page number `n` last (0 to report.pages - 1), by
 * its own book; `ret->size` must be set. EINVAL.
 */
int tf_work_page(struct tf_work *work, uint64_t n, struct tf_work_page *ret);

/* Why it died, one line; empty while it lives. */
const char *tf_work_why(const struct tf_work *work);

/* Its VM, owned by the workload; its vCPU, or NULL without KVM. */
struct tf_vm *tf_work_vm(struct tf_work *work);
struct tf_vcpu *tf_work_vcpu(struct tf_work *work);

#ifdef __cplusplus
}
#endif
#endif
