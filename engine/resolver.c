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

#include "engine/base/thread.h"
#include "engine/breaks.h"
#include "engine/fence.h"
#include "engine/state.h"

#define MESSAGES 16u

char *tf_fault_page(const struct uffd_msg *m)
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
void tf_resolver_plug(struct tf_engine *e, char *addr)
{
	const struct tf_block *b = block_at(e, addr);

	if (b && !is_merged(b, addr))
		tf_plug_holes(e, addr, addr + TF_PAGE);
}

static void serve_hole(struct tf_engine *e, const struct uffd_msg *m)
{
	char *addr = tf_fault_page(m);

	tf_lock_urgent(e);
	tf_resolver_plug(e, addr);
	pthread_mutex_unlock(&e->lock);
	e->os->uffd_wake(e->os, e->uffd_guest, addr, TF_PAGE);
}

static void serve_write(struct tf_engine *e, const struct uffd_msg *m)
{
	char *addr = tf_fault_page(m);
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

static void serve_merged(struct tf_engine *e)
{
	struct uffd_msg msg[MESSAGES];
	int n = e->os->uffd_read(e->os, e->uffd_merged, msg, MESSAGES);

	for (int i = 0; i < n; i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			serve_write(e, &msg[i]);
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
	int err;

	e->resolver.quit = e->os->eventfd(e->os);
	if (e->resolver.quit < 0)
		return e->resolver.quit;
	err = tf_thread_start(&e->resolver.thread, resolver_main, e);
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
