/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twinfold/ras.h - memory errors, healed from the twin of a page.
 *
 * The promise: an error on a page that has a twin anywhere is invisible to
 * the guest; a vMCE is raised only for data that exists nowhere else, with
 * the exact guest address.
 *
 * Rules of twinfold/engine.h hold here too, except where a function says that
 * it may be called from a signal handler.
 */
#ifndef TWINFOLD_RAS_H
#define TWINFOLD_RAS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "twinfold/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What was hit. */
enum tf_ras_class {
	TF_RAS_NOT_OURS,     /* nothing the engine knows: the next handler's */
	TF_RAS_SHARED,       /* a stable copy; its sharers have another now */
	TF_RAS_RECOVERABLE,  /* a private frame whose bytes exist elsewhere */
	TF_RAS_PRIVATE,      /* the only copy: a vMCE waits for its guest */
	TF_RAS_TRANSIENT,    /* nothing is wrong there any more: go on */
	TF_RAS_ENGINE_OWNED, /* the engine's own memory, which nothing heals */
};

/* Where the healthy bytes came from. */
enum tf_ras_source {
	TF_RAS_FROM_NOWHERE,
	TF_RAS_FROM_FRESH_COPY, /* of another stable copy of the content */
	TF_RAS_FROM_DUP,        /* that other copy itself */
	TF_RAS_FROM_ZERO,       /* the content was zeros */
};

struct tf_ras_verdict {
	size_t size;
	enum tf_ras_class cls;
	enum tf_ras_source source;
	struct tf_guest *guest; /* NULL unless the address is a guest's */
	uint64_t gpa;           /* of the page; valid if `guest` is set */
	uint64_t ns;            /* from the call to the verdict */
};

/*
 * Called by the healer thread for every verdict, after whoever waited for it
 * goes on. Must not block for long, and must not touch guest memory. The guest
 * may have been destroyed meanwhile by another thread: compare, do not use it,
 * where that can be.
 */
typedef void tf_ras_event_fn(void *user, const struct tf_ras_verdict *verdict);

struct tf_ras_opts {
	size_t size;
	/* Written when a vMCE becomes pending. -1: none. Not owned. */
	int vmce_eventfd;
	tf_ras_event_fn *event;
	void *event_user;
};

/* A machine check that a guest is to be told of. */
struct tf_vmce {
	size_t size;
	struct tf_guest *guest;
	uint64_t gpa;        /* of the page */
	int action_required; /* the guest touched it; 0: it has not yet */
	pid_t tid;           /* the thread that touched it, 0: no particular */
};

/* How tf_ras_inject() hurts a page. */
enum tf_inject {
	TF_INJECT_SIM,      /* its bytes are overwritten, touching it traps */
	TF_INJECT_MADVISE,  /* MADV_HWPOISON */
	TF_INJECT_HWPOISON, /* the kernel's hwpoison-inject, by page frame */
};

/*
 * Start healing for an engine: a healer thread, and a SIGBUS handler of the
 * process that hands what is not the engine's to the handler before it.
 * `opts` NULL: no eventfd, no callback.
 *
 * The kernel tells one thread of a process of lost pages that nobody has
 * touched yet (action optional), and only where a thread has asked for it with
 * PR_MCE_KILL_EARLY. The healer thread asks, so that pages heal before a guest
 * comes to them: nothing has to be done for it. It does not ask where the
 * calling thread has a policy already (prctl(2), PR_MCE_KILL_SET): with
 * PR_MCE_KILL_LATE pages heal when they are touched. The kernel chooses the
 * eldest of the threads that asked. What the healer is told and what is no
 * engine's goes to no other handler: an embedder that wants to hear of its own
 * memory so early asks in its main thread.
 *
 * Ends with tf_ras_uninstall() or the engine.
 * EINVAL: a size that cannot be. EALREADY: it has one. ENOSPC: 16 engines have
 * one. ENOMEM, EMFILE, EAGAIN.
 */
int tf_ras_install(struct tf_engine *engine, const struct tf_ras_opts *opts);

/* Waits for those who wait for a verdict. NULL and not installed are fine. */
void tf_ras_uninstall(struct tf_engine *engine);

/*
 * What the SIGBUS handler does, for an embedder with a handler of its own, or
 * with another way to learn of an error (a KVM_EXIT_MMIO inside a memslot).
 * May be called from a signal handler; errno is preserved. Waits for the
 * healer thread, which takes no lock that is held around guest memory. In the
 * healer thread itself (tf_ras_install() says why) it says TF_RAS_TRANSIENT,
 * and healing follows.
 *
 * 0: *ret says what happened; the thread may go on, except after
 *    TF_RAS_NOT_OURS.
 * ENOTRECOVERABLE: the engine's own memory is lost, at once. EIO: no verdict
 * could be had in time. ENODEV: not installed.
 */
int tf_ras_handle(struct tf_engine *engine, const siginfo_t *info,
		  struct tf_ras_verdict *ret);

/*
 * Lose the page at `gpa`, in every mapping of it that a fault would take.
 * Wakes nobody; whoever touches it meets the error.
 * EINVAL: no such way. ENOENT: no such memory. EOPNOTSUPP: this host cannot (the log line says
 * what it lacks). ENODEV: not installed.
 */
int tf_ras_inject(struct tf_engine *engine, struct tf_guest *guest,
		  uint64_t gpa, enum tf_inject how);

/*
 * Take a pending vMCE, for the thread `tid` or for no particular one; with
 * `tid` 0 any. From a run loop, never in a signal handler.
 * EAGAIN: there is none. ENODEV: not installed.
 */
int tf_ras_take_vmce(struct tf_engine *engine, pid_t tid, struct tf_vmce *ret);

/*
 * Raise it in a guest whose vCPU was set up with KVM_X86_SETUP_MCE, with the
 * pattern of the guest's CPU vendor (Intel SDM vol. 3, chapter 15; AMD APM
 * vol. 2, chapter 9; the bank and status values are those QEMU uses).
 * EBUSY: the guest is still in a machine check, try again later. ENOTSUP: it
 * has machine checks off (CR4.MCE): it would shut down.
 */
int tf_ras_vmce_kvm(int vcpu_fd, const struct tf_vmce *vmce);

#ifdef __cplusplus
}
#endif
#endif
