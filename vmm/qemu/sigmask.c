/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU blocks SIGBUS in every thread but KVM's vCPUs, and reads it through a
 * signalfd in its main loop. A memory error that such a thread meets would end
 * the process before any handler is asked. So SIGBUS stays open in the
 * kernel's eyes, and blocked in QEMU's, thread by thread.
 *
 * An error that nobody has touched yet (action optional) and that is QEMU's is
 * given to its main loop the way QEMU expects it: blocked there for once, and
 * queued again, so that the signalfd has it. QEMU looks its handler up to call
 * it (sigaction() with no new action): then SIGBUS is opened again.
 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "vmm/qemu/preload.h"

enum view {
	VIEW_NONE,
	VIEW_OPEN,
	VIEW_BLOCKED
};

#define TLS __thread __attribute__((tls_model("initial-exec")))

static TLS enum view view; /* QEMU's, of this thread */
static TLS bool handed;
static _Atomic enum view first_view; /* of the thread that began */
static atomic_bool keep_open;

int tq_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
	TQ_EXPORT("pthread_sigmask");
int tq_sigprocmask(int how, const sigset_t *set, sigset_t *old)
	TQ_EXPORT("sigprocmask");

static sigset_t only_sigbus(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	return set;
}

static enum view view_now(void)
{
	return view ? view : atomic_load(&first_view);
}

bool tq_sigmask_is_open(void)
{
	return view_now() == VIEW_OPEN;
}

static enum view view_after(int how, const sigset_t *set)
{
	bool member = sigismember(set, SIGBUS) == 1;

	if (how == SIG_SETMASK)
		return member ? VIEW_BLOCKED : VIEW_OPEN;
	if (!member)
		return view;
	return how == SIG_BLOCK ? VIEW_BLOCKED : VIEW_OPEN;
}

int tq_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	bool open = atomic_load(&keep_open) && !tq_inside;
	enum view before = view_now(),
		  after = set ? view_after(how, set) : view;
	sigset_t changed;
	int err;

	if (set && open && how != SIG_UNBLOCK) {
		changed = *set;
		sigdelset(&changed, SIGBUS);
		set = &changed;
	}
	err = tq_real()->pthread_sigmask(how, set, old);
	if (err)
		return err;
	view = after;
	if (old && open && before == VIEW_BLOCKED)
		sigaddset(old, SIGBUS);
	return 0;
}

int tq_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int err = tq_pthread_sigmask(how, set, old);

	if (!err)
		return 0;
	errno = err;
	return -1;
}

void tq_sigmask_begin(void)
{
	const sigset_t bus = only_sigbus();
	sigset_t now;

	if (tq_real()->pthread_sigmask(SIG_UNBLOCK, &bus, &now))
		return;
	view = sigismember(&now, SIGBUS) == 1 ? VIEW_BLOCKED : VIEW_OPEN;
	atomic_store(&first_view, view);
	atomic_store(&keep_open, true);
}

/* Only the main thread has a loop that reads it; elsewhere it would have
 * stayed pending for ever. */
void tq_sigmask_hand_over(const siginfo_t *info, void *context)
{
	const sigset_t bus = only_sigbus();
	ucontext_t *uc = context;

	if (getpid() != gettid())
		return;
	tq_real()->pthread_sigmask(SIG_BLOCK, &bus, NULL);
	sigaddset(&uc->uc_sigmask, SIGBUS);
	handed = true;
	syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, info);
}

void tq_sigmask_handed_over(void)
{
	const sigset_t bus = only_sigbus();

	if (!handed)
		return;
	handed = false;
	tq_real()->pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
}
