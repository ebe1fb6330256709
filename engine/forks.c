/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Forked children. Owns the context that tells of forks, the thread that
 * listens to it, the children's contexts, and the gate.
 *
 * fork() does not return before its event was read, and the C library holds
 * the allocator's locks meanwhile. So the listener takes no lock that anybody
 * holds who may allocate memory, the engine's least of all, and it allocates
 * and frees nothing itself. The resolver could not promise that.
 *
 * The gate is the process's, not an engine's, because fork() is: a lock that
 * says "no fork now" and nothing else. fork() takes it as a writer, fences of
 * all engines as readers who do not wait, so neither can lock up the other.
 */
#include "engine/forks.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>

#include "engine/base/cleanup.h"
#include "engine/base/thread.h"
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

/* Caller holds forks.lock. */
static void add_child(struct tf_engine *e, int child)
{
	struct tf_forks *f = &e->forks;

	if (f->n < TF_FORKS_MAX) {
		f->child[f->n++] = child;
		return;
	}
	e->os->close(e->os, child);
	f->lost = true;
}

/* Read the events of one context: ours, or that of a child with children. */
static void listen_to(struct tf_engine *e, int uffd)
{
	struct uffd_msg msg[MESSAGES];
	int n = e->os->uffd_read(e->os, uffd, msg, MESSAGES);

	for (int i = 0; i < n; i++)
		if (msg[i].event == UFFD_EVENT_FORK)
			add_child(e, (int)msg[i].arg.fork.ufd);
}

/* Children may be reaped while we poll: none but those in the table count. */
static void listen_to_all(struct tf_engine *e)
{
	struct tf_forks *f = &e->forks;
	TF_LOCKED(&f->lock);

	listen_to(e, f->uffd);
	for (unsigned i = 0; i < f->n; i++)
		listen_to(e, f->child[i]);
}

/* What to wait for; the number of descriptors. */
static unsigned poll_set(struct tf_forks *f, struct pollfd *fds)
{
	TF_LOCKED(&f->lock);

	fds[0] = (struct pollfd){ .fd = f->quit, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = f->uffd, .events = POLLIN };
	for (unsigned i = 0; i < f->n; i++)
		fds[2 + i] =
			(struct pollfd){ .fd = f->child[i], .events = POLLIN };
	return 2 + f->n;
}

static void *listener_main(void *arg)
{
	struct tf_engine *e = arg;
	struct pollfd fds[2 + TF_FORKS_MAX] = { 0 };

	while (!(fds[0].revents & POLLIN)) {
		unsigned n = poll_set(&e->forks, fds);

		if (e->os->poll(e->os, fds, n, -1) > 0)
			listen_to_all(e);
	}
	return NULL;
}

/* A page of ours is registered, and inherited by every child. */
static int register_page(struct tf_engine *e)
{
	const struct tf_os *os = e->os;
	struct tf_forks *f = &e->forks;
	long at = os->map(os, NULL, TF_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at < 0)
		return (int)at;
	f->page = (char *)at;
	return os->uffd_register(os, f->uffd, f->page, TF_PAGE, TF_REG_WP);
}

int tf_forks_init(struct tf_engine *e)
{
	struct tf_forks *f = &e->forks;
	int err;

	f->uffd = e->os->uffd_open(e->os, TF_UFFD_FORK);
	if (f->uffd == -EMFILE || f->uffd == -ENFILE || f->uffd == -ENOMEM)
		return f->uffd;
	if (f->uffd < 0)
		return 0;
	err = register_page(e);
	if (err)
		return err;
	f->quit = e->os->eventfd(e->os);
	if (f->quit < 0)
		return f->quit;
	err = tf_thread_start(&f->thread, listener_main, e);
	f->events = f->running = !err;
	return err;
}

void tf_forks_fini(struct tf_engine *e)
{
	const struct tf_os *os = e->os;
	struct tf_forks *f = &e->forks;

	if (f->running) {
		os->signal(os, f->quit);
		pthread_join(f->thread, NULL);
	}
	/* Whoever is in fork() goes on when the context is closed. */
	if (f->uffd >= 0)
		os->close(os, f->uffd);
	if (f->page)
		os->unmap(os, f->page, TF_PAGE);
	if (f->quit >= 0)
		os->close(os, f->quit);
	for (unsigned i = 0; i < f->n; i++)
		os->close(os, f->child[i]);
}

/* ESRCH: the child's memory is gone. */
static bool child_ended(const struct tf_engine *e, int child)
{
	return e->os->uffd_protect(e->os, child, e->forks.page, TF_PAGE,
				   false) == -ESRCH;
}

/*
 * A fork that is under way has copied mappings, but its event is not read yet:
 * until then requests to the context fail with EAGAIN. It is read and booked
 * under forks.lock, so there is no gap between the two.
 */
bool tf_forks_alive(struct tf_engine *e)
{
	struct tf_forks *f = &e->forks;
	TF_LOCKED(&f->lock);

	if (f->n || f->lost)
		return true;
	return f->events && e->os->uffd_protect(e->os, f->uffd, f->page,
						TF_PAGE, false) == -EAGAIN;
}

void tf_forks_reap(struct tf_engine *e)
{
	struct tf_forks *f = &e->forks;
	unsigned kept = 0;
	TF_LOCKED(&f->lock);

	for (unsigned i = 0; i < f->n; i++) {
		if (child_ended(e, f->child[i]))
			e->os->close(e->os, f->child[i]);
		else
			f->child[kept++] = f->child[i];
	}
	f->n = kept;
}
