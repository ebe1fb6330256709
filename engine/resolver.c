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

#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/breaks.h"
#include "engine/fence.h"
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

/*
 * The walker may protect a page in the very moment in which it is discarded.
 * That leaves a marker in the page table: no page, but no page can be put
 * there either. Protection is taken off only where no page is, and never off
 * a merged frame. Caller holds the lock.
 */
static void drop_marker(const struct tf_engine *e, char *addr)
{
	const struct tf_block *b = block_at(e, addr);
	uint64_t entry = TF_PM_PRESENT;
	const struct tf_frame *f;

	if (!b)
		return;
	f = &b->frames[tf_region_page_of(b->region, addr)];
	if (f->state == TF_FRAME_SHARED || f->state == TF_FRAME_COW)
		return;
	e->os->pagemap_read(e->os, e->pagemap, addr, &entry, 1);
	if (!(entry & TF_PM_PRESENT))
		e->os->uffd_protect(e->os, e->uffd_guest, addr, TF_PAGE, false);
}

/*
 * A hole in an armed block that is not the fence's (we hold the lock, so no
 * fence is shut): memory that was discarded behind the engine's back. It
 * reads as zeros, like any private anonymous memory. More often there is no
 * hole any more.
 */
static void serve_hole(struct tf_engine *e, const struct uffd_msg *m)
{
	char *addr = fault_page(m);

	tf_lock_urgent(e);
	drop_marker(e, addr);
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

/*
 * A forked child has inherited mappings of slots. Its protection goes, it
 * copies on write by itself; until it ends no slot is punched.
 */
static void serve_fork(struct tf_engine *e, int child)
{
	TF_LOCKED(&e->lock);

	for (size_t i = 0; i < e->nregions; i++) {
		struct tf_region *r = e->regions[i];

		e->os->uffd_unregister(e->os, child, r->start,
				       (size_t)(r->end - r->start));
		e->os->uffd_wake(e->os, child, r->start,
				 (size_t)(r->end - r->start));
	}
	if (e->nforks == e->cap_forks) {
		size_t cap = e->cap_forks ? 2 * e->cap_forks : 4;
		int *more = realloc(e->forks, cap * sizeof(*more));

		if (!more) {
			tf_log(&e->log, TF_LOG_ERR,
			       "no memory to follow a forked child: freed "
			       "pages stay allocated until the engine ends");
			e->os->close(e->os, child);
			e->forks_lost = true;
			return;
		}
		e->forks = more;
		e->cap_forks = cap;
	}
	e->forks[e->nforks++] = child;
}

void tf_forks_reap(struct tf_engine *e)
{
	const struct tf_os *os = e->os;
	size_t kept = 0;

	for (size_t i = 0; i < e->nforks; i++) {
		/* ESRCH: the child's memory is gone. */
		if (os->uffd_protect(os, e->forks[i], e->staging, TF_PAGE,
				     false) == -ESRCH)
			os->close(os, e->forks[i]);
		else
			e->forks[kept++] = e->forks[i];
	}
	e->nforks = kept;
}

void tf_forks_fini(struct tf_engine *e)
{
	for (size_t i = 0; i < e->nforks; i++)
		e->os->close(e->os, e->forks[i]);
	free(e->forks);
}

static void serve_guest(struct tf_engine *e)
{
	struct uffd_msg msg[MESSAGES];
	int n = e->os->uffd_read(e->os, e->uffd_guest, msg, MESSAGES);

	for (int i = 0; i < n; i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			serve_hole(e, &msg[i]);
}

static void serve_merged(struct tf_engine *e)
{
	struct uffd_msg msg[MESSAGES];
	int n = e->os->uffd_read(e->os, e->uffd_merged, msg, MESSAGES);

	for (int i = 0; i < n; i++) {
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			serve_write(e, &msg[i]);
		else if (msg[i].event == UFFD_EVENT_FORK)
			serve_fork(e, (int)msg[i].arg.fork.ufd);
	}
}

static void *resolver_main(void *arg)
{
	struct tf_engine *e = arg;
	struct pollfd fds[3] = {
		{ .fd = e->uffd_merged, .events = POLLIN },
		{ .fd = e->uffd_guest, .events = POLLIN },
		{ .fd = e->resolver.quit, .events = POLLIN },
	};

	while (!(fds[2].revents & POLLIN)) {
		if (e->os->poll(e->os, fds, 3, -1) < 0)
			continue;
		if (fds[0].revents & POLLIN)
			serve_merged(e);
		if (fds[1].revents & POLLIN)
			serve_guest(e);
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
