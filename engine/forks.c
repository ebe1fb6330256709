/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Forked children. Owns their userfaultfds, and the gate.
 *
 * The gate is the process's, not an engine's, because fork() is: a lock that
 * says "no fork now" and nothing else. fork() takes it as a writer, fences of
 * all engines as readers who do not wait, so neither can lock up the other.
 */
#include "engine/forks.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/state.h"

#define MESSAGES 16

static pthread_rwlock_t gate = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t gate_once = PTHREAD_ONCE_INIT;

static void gate_shut(void)
{
	pthread_rwlock_wrlock(&gate);
}

static void gate_open(void)
{
	pthread_rwlock_unlock(&gate);
}

/* The child is another thread in the eyes of the lock: begin anew. */
static void gate_renew(void)
{
	gate = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
}

static void gate_init(void)
{
	pthread_atfork(gate_shut, gate_open, gate_renew);
}

bool tf_fork_gate_enter(void)
{
	pthread_once(&gate_once, gate_init);
	return pthread_rwlock_tryrdlock(&gate) == 0;
}

void tf_fork_gate_leave(void)
{
	pthread_rwlock_unlock(&gate);
}

static int forks_grow(struct tf_engine *e)
{
	size_t cap = e->cap_forks ? 2 * e->cap_forks : 4;
	int *more;

	if (e->nforks < e->cap_forks)
		return 0;
	if (e->nforks == TF_FORKS_MAX)
		return -ENOSPC;
	more = realloc(e->forks, cap * sizeof(*more));
	if (!more)
		return -ENOMEM;
	e->forks = more;
	e->cap_forks = cap;
	return 0;
}

/*
 * The child keeps its protection until it writes: only a mapping that is
 * registered tells of a child's own children.
 */
void tf_forks_add(struct tf_engine *e, int child)
{
	if (!forks_grow(e)) {
		e->forks[e->nforks++] = child;
		return;
	}
	tf_log(&e->log, TF_LOG_ERR,
	       "no room to follow a forked child: freed pages stay allocated "
	       "until the engine ends");
	/* Closing ends its protection: it copies on write by itself. */
	e->os->close(e->os, child);
	e->forks_lost = true;
}

/*
 * A fork that is under way has copied mappings, but its event is not read yet:
 * until then requests to the context fail with EAGAIN. The resolver says that
 * it is reading before it does, so there is no gap between the two.
 */
bool tf_forks_alive(const struct tf_engine *e)
{
	const struct tf_os *os = e->os;

	if (e->nforks || e->forks_lost)
		return true;
	if (!e->fork_events)
		return false;
	return os->uffd_protect(os, e->uffd_merged, e->staging, TF_PAGE,
				false) == -EAGAIN ||
	       atomic_load(&e->resolver.reading);
}

static bool child_ended(const struct tf_engine *e, int child)
{
	/* ESRCH: the child's memory is gone. */
	return e->os->uffd_protect(e->os, child, e->staging, TF_PAGE, false) ==
	       -ESRCH;
}

void tf_forks_reap(struct tf_engine *e)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->nforks; i++) {
		if (child_ended(e, e->forks[i]))
			e->os->close(e->os, e->forks[i]);
		else
			e->forks[kept++] = e->forks[i];
	}
	e->nforks = kept;
}

unsigned tf_forks_fds(const struct tf_engine *e, int *fds, unsigned n)
{
	unsigned i;

	for (i = 0; i < n && i < e->nforks; i++)
		fds[i] = e->forks[i];
	return i;
}

static bool is_child(const struct tf_engine *e, int fd)
{
	for (size_t i = 0; i < e->nforks; i++)
		if (e->forks[i] == fd)
			return true;
	return false;
}

/* A child writes to a page that it shares: the kernel may copy it now. */
static void serve_write(const struct tf_engine *e, int child, uint64_t address)
{
	char *addr = (char *)(uintptr_t)(address & ~(TF_PAGE - 1));

	e->os->uffd_protect(e->os, child, addr, TF_PAGE, false);
	e->os->uffd_wake(e->os, child, addr, TF_PAGE);
}

void tf_forks_serve(struct tf_engine *e, int child)
{
	struct uffd_msg msg[MESSAGES];
	int n;

	if (!is_child(e, child))
		return;
	n = e->os->uffd_read(e->os, child, msg, MESSAGES);
	for (int i = 0; i < n; i++) {
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			serve_write(e, child, msg[i].arg.pagefault.address);
		else if (msg[i].event == UFFD_EVENT_FORK)
			tf_forks_add(e, (int)msg[i].arg.fork.ufd);
	}
}

void tf_forks_fini(struct tf_engine *e)
{
	for (size_t i = 0; i < e->nforks; i++)
		e->os->close(e->os, e->forks[i]);
	free(e->forks);
}
