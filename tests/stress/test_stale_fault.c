/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fault message may reach the resolver long after its page was merged. If
 * the kernel has meanwhile dropped the page from the page tables (it is in the
 * store, to be mapped again by the next touch), the message must not be taken
 * for one about a hole: a zero page would hide the guest's bytes.
 *
 * And a page that is discarded at the very moment in which the walker protects
 * it can be touched afterwards.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/os_linux.h"
#include "engine/state.h"
#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"

#define PAGES 512

static struct world world;

/* The address of a fault to be told to the resolver once more, or NULL. */
static char *_Atomic told;

static int poll_told(const struct tf_os *os, struct pollfd *fds, unsigned n,
		     int timeout_ms)
{
	int r;

	do {
		r = tf_os_linux.poll(os, fds, n,
				     timeout_ms < 0 ? 5 : timeout_ms);
	} while (r == 0 && timeout_ms < 0 && !atomic_load(&told));
	if (atomic_load(&told) && n > 1 &&
	    fds[1].fd == world.engine->uffd_guest) {
		fds[1].revents |= POLLIN;
		return r + 1;
	}
	return r;
}

static int read_told(const struct tf_os *os, int uffd, struct uffd_msg *msg,
		     unsigned n)
{
	char *addr = NULL;

	if (uffd == world.engine->uffd_guest)
		addr = atomic_exchange(&told, NULL);
	if (!addr)
		return tf_linux_uffd_read(os, uffd, msg, n);
	memset(msg, 0, sizeof(*msg));
	msg->event = UFFD_EVENT_PAGEFAULT;
	msg->arg.pagefault.address = (uintptr_t)addr;
	return 1;
}

static void test_stale(void)
{
	struct tf_os os = tf_os_linux;
	char want[TF_PAGE];
	struct tf_stats s;

	os.poll = poll_told;
	os.uffd_read = read_told;
	world_open(&world, PAGES, NULL, &os);
	content_fill(want, 5);
	memcpy(world.ram, want, TF_PAGE);
	memcpy(world.ram + TF_PAGE, want, TF_PAGE);
	world_passes(&world, 3);
	world_stats(&world, &s);
	CHECK(s.pages_shared == 1 && s.pages_sharing == 1);
	/* As reclaim does it. */
	CHECK(madvise(world.ram, TF_PAGE, MADV_DONTNEED) == 0);
	atomic_store(&told, world.ram);
	for (int i = 0; atomic_load(&told) && i < 1000; i++)
		test_nap(0.01);
	/* One answer later that one has been given. */
	atomic_store(&told, world.ram + 9 * TF_PAGE);
	for (int i = 0; atomic_load(&told) && i < 1000; i++)
		test_nap(0.01);
	if (memcmp(world.ram, want, TF_PAGE))
		test_fail("an old fault message hid a shared page's bytes");
	world_close(&world);
}

/* The page that is discarded just before it is protected. */
static char *_Atomic doomed;

static int discard_first(const struct tf_os *os, int uffd, void *addr,
			 size_t len, bool on)
{
	char *p = atomic_load(&doomed), *from = addr;

	if (p && on && p >= from && p < from + len) {
		madvise(p, TF_PAGE, MADV_DONTNEED);
		atomic_store(&doomed, NULL);
	}
	return tf_linux_uffd_protect(os, uffd, addr, len, on);
}

static void touch(struct worker *me)
{
	char *p = me->arg;

	CHECK(__atomic_load_n(p, __ATOMIC_RELAXED) == 0);
	__atomic_store_n(p, 1, __ATOMIC_RELAXED);
	CHECK(__atomic_load_n(p, __ATOMIC_RELAXED) == 1);
}

static void test_marker(void)
{
	struct tf_os os = tf_os_linux;
	struct worker w, *watched[] = { &w };
	struct tf_engine_opts opts;
	char *page;

	os.uffd_protect = discard_first;
	world_opts(&opts, 256);
	opts.smart_scan = 0; /* look at every block in every pass */
	world_open(&world, PAGES, &opts, &os);
	content_fill(world.ram, 5);
	content_fill(world.ram + TF_PAGE, 5);
	world_passes(&world, 3);
	page = world.ram + 7 * TF_PAGE;
	page[0] = 1;
	atomic_store(&doomed, page);
	world_passes(&world, 1);
	CHECK(!atomic_load(&doomed));
	worker_start(&w,
		     "who touches a page that was discarded while it was "
		     "protected",
		     touch, page);
	worker_watch(watched, 1);
	worker_join_all(watched, 1);
	world_close(&world);
}

static void run(void)
{
	test_stale();
	test_marker();
}

int main(void)
{
	struct leak before;

	test_begin();
	run();
	leak_take(&before);
	run();
	leak_check(&before);
	return 0;
}
