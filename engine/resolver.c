/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The resolver thread. Takes the engine's lock for each fault, and never
 * touches guest memory: it could wait for itself.
 *
 * A message may be old: the fence that caused it has opened, or another
 * thread's fault on the same page was answered. Every answer is therefore
 * right for any state of the page, and ends with a wake.
 */
#include "engine/resolver.h"

#include <linux/userfaultfd.h>
#include <signal.h>

#include "engine/base/cleanup.h"
#include "engine/breaks.h"
#include "engine/fence.h"
#include "engine/forks.h"
#include "engine/state.h"

#define MESSAGES 16u

static char *fault_page(const struct uffd_msg *m)
{
	return (char *)(uintptr_t)(m->arg.pagefault.address & ~(TF_PAGE - 1));
}

/* The block of the page at `addr`, or NULL. Caller holds the lock. */
static struct tf_block *block_at(const struct tf_engine *e, const char *addr)
{
	const struct tf_region *r = tf_region_at(e, addr);

	return r ? tf_block_find(r, tf_region_block_of(r, addr)) : NULL;
}

static bool is_merged(const struct tf_block *b, const char *addr)
{
	unsigned page = tf_region_page_of(b->region, addr);

	return b->frames[page].state == TF_FRAME_SHARED ||
	       b->frames[page].state == TF_FRAME_COW;
}

/*
 * A hole in an armed block that is not the fence's (we hold the lock, so no
 * fence is shut): memory that was discarded behind the engine's back. It
 * reads as zeros, like any private anonymous memory. More often there is no
 * hole any more; and a merged frame has none, it is not to be plugged even
 * when the kernel has dropped its page, which is in the store.
 */
static void serve_hole(struct tf_engine *e, const struct uffd_msg *m)
{
	char *addr = fault_page(m);
	const struct tf_block *b;

	tf_lock_urgent(e);
	b = block_at(e, addr);
	if (b && !is_merged(b, addr))
		tf_plug_holes(e, addr, addr + TF_PAGE);
	pthread_mutex_unlock(&e->lock);
	e->os->uffd_wake(e->os, e->uffd_guest, addr, TF_PAGE);
}

static void serve_write(struct tf_engine *e, const struct uffd_msg *m)
{
	char *addr = fault_page(m);
	struct tf_block *b;

	tf_lock_urgent(e);
	b = block_at(e, addr);
	if (b) {
		unsigned page = tf_region_page_of(b->region, addr);

		if (b->frames[page].state == TF_FRAME_SHARED)
			tf_break_fault(b, page);
	}
	pthread_mutex_unlock(&e->lock);
	e->os->uffd_wake(e->os, e->uffd_merged, addr, TF_PAGE);
}

static void serve_guest(struct tf_engine *e)
{
	struct uffd_msg msg[MESSAGES];
	int n = e->os->uffd_read(e->os, e->uffd_guest, msg, MESSAGES);

	for (int i = 0; i < n; i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			serve_hole(e, &msg[i]);
}

static void serve_fork(struct tf_engine *e, int child)
{
	TF_LOCKED(&e->lock);

	tf_forks_add(e, child);
}

static void serve_merged(struct tf_engine *e)
{
	struct uffd_msg msg[MESSAGES];
	int n;

	/* See tf_forks_alive(). */
	atomic_store(&e->resolver.reading, true);
	n = e->os->uffd_read(e->os, e->uffd_merged, msg, MESSAGES);
	for (int i = 0; i < n; i++)
		if (msg[i].event == UFFD_EVENT_FORK)
			serve_fork(e, (int)msg[i].arg.fork.ufd);
	atomic_store(&e->resolver.reading, false);
	for (int i = 0; i < n; i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			serve_write(e, &msg[i]);
}

static void serve_child(struct tf_engine *e, int child)
{
	TF_LOCKED(&e->lock);

	tf_forks_serve(e, child);
}

/* What to wait for; the number of descriptors. */
static unsigned poll_set(struct tf_engine *e, struct pollfd *fds)
{
	int child[TF_FORKS_MAX];
	unsigned n;

	pthread_mutex_lock(&e->lock);
	n = tf_forks_fds(e, child, TF_FORKS_MAX);
	pthread_mutex_unlock(&e->lock);
	fds[0] = (struct pollfd){ .fd = e->uffd_merged, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = e->uffd_guest, .events = POLLIN };
	fds[2] = (struct pollfd){ .fd = e->resolver.quit, .events = POLLIN };
	for (unsigned i = 0; i < n; i++)
		fds[3 + i] = (struct pollfd){ .fd = child[i],
					      .events = POLLIN };
	return 3 + n;
}

static void *resolver_main(void *arg)
{
	struct tf_engine *e = arg;
	struct pollfd fds[3 + TF_FORKS_MAX] = { 0 };

	while (!(fds[2].revents & POLLIN)) {
		unsigned n = poll_set(e, fds);

		if (e->os->poll(e->os, fds, n, -1) < 0)
			continue;
		if (fds[0].revents & POLLIN)
			serve_merged(e);
		if (fds[1].revents & POLLIN)
			serve_guest(e);
		for (unsigned i = 3; i < n; i++)
			if (fds[i].revents & POLLIN)
				serve_child(e, fds[i].fd);
	}
	return NULL;
}

int tf_resolver_start(struct tf_engine *e)
{
	sigset_t all, old;
	int err;

	e->resolver.quit = e->os->eventfd(e->os);
	if (e->resolver.quit < 0)
		return e->resolver.quit;
	/* The embedder's signals are for the embedder's threads; memory
	 * errors are for whoever meets them. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&e->resolver.thread, NULL, resolver_main, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	e->resolver.running = !err;
	return err;
}

void tf_resolver_stop(struct tf_engine *e)
{
	if (e->resolver.running) {
		e->os->signal(e->os, e->resolver.quit);
		pthread_join(e->resolver.thread, NULL);
		e->resolver.running = false;
	}
	if (e->resolver.quit >= 0)
		e->os->close(e->os, e->resolver.quit);
	e->resolver.quit = -1;
}
