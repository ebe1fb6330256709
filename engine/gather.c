/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathering pages that broke. One run of pages at a time:
 *
 *   cut     a fresh anonymous mapping, unfaulted, with the region's attributes,
 *           next to no other, registered for missing faults in a context that
 *           follows mremap()
 *   close   the run's pages move to staging, as for any fence
 *   lay     the fresh mapping is moved over the run: unfaulted, it takes the
 *           place's own page offset and so joins its neighbours
 *   back    the pages move back, whoever touches a hole meanwhile sleeps
 *   hand    the run goes over to the guest context, and sleepers wake
 *
 * Until `back` the bytes are in staging. The run is registered at every moment
 * in which it has holes, by one context or the other: there is no instant in
 * which a touch would find zeros.
 *
 * Moving a mapping of the gathering context waits until its event is read. The
 * mover holds the engine's lock, so the reader takes no lock that it would
 * have to wait for.
 */
#include "engine/gather.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "engine/base/thread.h"
#include "engine/book.h"
#include "engine/fence.h"
#include "engine/forks.h"
#include "engine/mapping.h"
#include "engine/pins.h"
#include "engine/resolver.h"
#include "engine/spare.h"
#include "engine/state.h"

#define MESSAGES 16u

/* A fence over more pages than this would be shut for too long. */
#define RUN_PAGES 128u

/* Passes to wait after a refusal. */
#define PATIENCE 32u

/*
 * Somebody touched a hole. Those of the run in hand wake when it is done. Any
 * other is one that could not be handed over to the guest context. Whoever
 * holds the lock may be waiting for us: do not wait for it, let the toucher
 * come again.
 */
static void serve_touch(struct tf_engine *e, char *addr)
{
	struct tf_gather *g = &e->gather;

	if (addr >= atomic_load(&g->from) && addr < atomic_load(&g->to))
		return;
	if (pthread_mutex_trylock(&e->lock) == 0) {
		tf_resolver_plug(e, addr);
		pthread_mutex_unlock(&e->lock);
	}
	e->os->uffd_wake(e->os, g->uffd, addr, TF_PAGE);
}

static void *reader_main(void *arg)
{
	struct tf_engine *e = arg;
	struct uffd_msg msg[MESSAGES];
	struct pollfd fds[2] = {
		{ .fd = e->gather.uffd, .events = POLLIN },
		{ .fd = e->gather.quit, .events = POLLIN },
	};

	while (!(fds[1].revents & POLLIN)) {
		int n;

		if (e->os->poll(e->os, fds, 2, -1) < 0)
			continue;
		n = e->os->uffd_read(e->os, e->gather.uffd, msg, MESSAGES);
		for (int i = 0; i < n; i++)
			if (msg[i].event == UFFD_EVENT_PAGEFAULT)
				serve_touch(e, tf_fault_page(&msg[i]));
	}
	return NULL;
}

int tf_gather_init(struct tf_engine *e)
{
	struct tf_gather *g = &e->gather;
	int err;

	g->uffd = e->os->uffd_open(e->os, TF_UFFD_GATHER);
	if (g->uffd == -EMFILE || g->uffd == -ENFILE || g->uffd == -ENOMEM)
		return g->uffd;
	if (g->uffd < 0)
		return 0;
	g->quit = e->os->eventfd(e->os);
	if (g->quit < 0)
		return g->quit;
	err = tf_thread_start(&g->thread, reader_main, e);
	g->running = !err;
	return err;
}

void tf_gather_fini(struct tf_engine *e)
{
	struct tf_gather *g = &e->gather;

	if (g->running) {
		e->os->signal(e->os, g->quit);
		pthread_join(g->thread, NULL);
	}
	if (g->uffd >= 0)
		e->os->close(e->os, g->uffd);
	if (g->quit >= 0)
		e->os->close(e->os, g->quit);
}

/* Of the reserve that a fresh mapping is cut from, at either end. */
#define GUARD TF_PAGE

static void drop_fresh(const struct tf_os *os, char *fresh, size_t len)
{
	os->unmap(os, fresh - GUARD, len + 2 * GUARD);
}

/* mlockall() may have touched it before it was registered. Where it did, those
 * who look at the run would find zeros. */
static bool is_untouched(const struct tf_engine *e, const char *fresh,
			 unsigned n)
{
	uint64_t entries[RUN_PAGES];

	if (e->os->pagemap_read(e->os, e->pagemap, fresh, entries, n) !=
	    (long)n)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (entries[i] & (TF_PM_PRESENT | TF_PM_SWAPPED))
			return false;
	return true;
}

/*
 * NULL, or the fresh mapping. It must not be joined with what happens to lie
 * beside it: with that one's pages it would keep that place's page offsets,
 * and the run could never be one mapping with its neighbours. So nothing that
 * can be touched lies beside it.
 */
static char *cut_fresh(struct tf_region *r, size_t len)
{
	const struct tf_engine *e = r->engine;
	const struct tf_os *os = e->os;
	long at = os->map(os, NULL, len + 2 * GUARD, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *fresh = (char *)at + GUARD;

	if (at < 0)
		return NULL;
	at = os->map(os, fresh, len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
			     tf_attrs_map_flags(&r->attrs),
		     -1, 0);
	if (at >= 0 && !tf_attrs_apply(os, &r->attrs, fresh, len) &&
	    !os->uffd_register(os, e->gather.uffd, fresh, len,
			       TF_REG_MISSING | TF_REG_WP) &&
	    is_untouched(e, fresh, (unsigned)(len / TF_PAGE)))
		return fresh;
	drop_fresh(os, fresh, len);
	return NULL;
}

/* Move out as many of the `n` pages as will, one mapping at a time. */
static unsigned close_run(struct tf_engine *e, char *addr, unsigned n)
{
	unsigned done = 0, step = n;

	while (done < n) {
		long moved;

		if (step > n - done)
			step = n - done;
		moved = tf_fence_close(e, addr + done * TF_PAGE, step, done);
		if (moved > 0) {
			done += (unsigned)moved;
			step *= 2;
		} else if (moved == -EINVAL && step > 1) {
			step /= 2; /* it goes across mappings */
		} else {
			break;
		}
	}
	return done;
}

/* The run is populated: from the gathering context to the guest context. */
static void hand_over(struct tf_region *r, char *addr, unsigned n)
{
	struct tf_engine *e = r->engine;
	const struct tf_os *os = e->os;
	size_t len = n * TF_PAGE;

	/* A page that went back as a copy is the guest context's already: then
	 * the whole cannot be let go of in one call. */
	if (os->uffd_unregister(os, e->gather.uffd, addr, len))
		for (unsigned i = 0; i < n; i++)
			os->uffd_unregister(os, e->gather.uffd,
					    addr + i * TF_PAGE, TF_PAGE);
	tf_watch(r, addr, n, true);
	atomic_store(&e->gather.to, NULL);
	atomic_store(&e->gather.from, NULL);
	os->uffd_wake(os, e->gather.uffd, addr, len);
	tf_fence_open(e, addr, addr + len);
}

/* The first `n` pages are in staging, `fresh` is as long. */
static void lay_and_fill(struct tf_region *r, char *fresh, char *addr,
			 unsigned n)
{
	struct tf_engine *e = r->engine;

	/* In this order there is no instant with `from` of one run and `to` of
	 * another. */
	atomic_store(&e->gather.from, addr);
	atomic_store(&e->gather.to, addr + n * TF_PAGE);
	if (e->os->remap_over(e->os, fresh, n * TF_PAGE, addr))
		tf_fence_put_back(r, e->uffd_guest, addr, n, 0);
	else
		tf_fence_put_back(r, e->gather.uffd, addr, n, 0);
	hand_over(r, addr, n);
}

static bool is_private(const struct tf_block *b, unsigned page)
{
	return b->frames[page].state != TF_FRAME_SHARED &&
	       b->frames[page].state != TF_FRAME_COW;
}

static bool is_native(const struct tf_block *b, unsigned page)
{
	return is_private(b, page) &&
	       !(b->frames[page].flags & TF_FRAME_FOREIGN);
}

/* The run is one mapping. It takes the anon_vma of one neighbour and joins
 * that; the other may have a different one. */
static void book_run(struct tf_block *b, unsigned page, unsigned n)
{
	unsigned end = page + n;

	b->region->engine->n.gathered += n;
	for (unsigned i = page; i < end; i++) {
		b->frames[i].flags &=
			(uint8_t) ~(TF_FRAME_FOREIGN | TF_FRAME_BORDER);
		if (tf_bit(&b->blind, i))
			tf_book_written(b, i); /* to be watched again */
	}
	if (page && end < TF_BLOCK_PAGES && is_native(b, page - 1) &&
	    is_native(b, end))
		b->frames[page].flags |= TF_FRAME_BORDER;
}

/* How many pages of the run were gathered; the one behind them refused. */
static unsigned gather_run(struct tf_block *b, unsigned page, unsigned n)
{
	struct tf_region *r = b->region;
	struct tf_engine *e = r->engine;
	char *addr = tf_frame_addr(b, page), *fresh;
	unsigned done = 0;

	if (tf_spare_reserve(r, n))
		return 0;
	fresh = cut_fresh(r, n * TF_PAGE);
	if (!fresh)
		return 0;
	if (tf_fork_gate_enter()) {
		done = close_run(e, addr, n);
		if (done)
			lay_and_fill(r, fresh, addr, done);
		tf_fork_gate_leave();
	}
	drop_fresh(e->os, fresh, n * TF_PAGE);
	tf_fence_sweep(e, done); /* of what went back as a copy */
	book_run(b, page, done);
	return done;
}

static bool fits(const struct tf_block *b, unsigned page, bool cold)
{
	const struct tf_frame *f = &b->frames[page];

	if (!(f->flags & TF_FRAME_FOREIGN) || tf_bit(&b->blind, page) ||
	    tf_pinned(b, page))
		return false;
	switch ((enum tf_frame_state)f->state) {
	case TF_FRAME_CANDIDATE:
	case TF_FRAME_ZERO:
		return true;
	case TF_FRAME_NEW:
	case TF_FRAME_NONE:
		return !cold;
	case TF_FRAME_SHARED:
	case TF_FRAME_COW:
		break;
	}
	return false;
}

/* Is there a private page beside [from, to) that the run could join? */
static bool has_neighbour(const struct tf_block *b, unsigned from, unsigned to)
{
	const char *addr = tf_frame_addr(b, from);
	const char *end = addr + (to - from) * TF_PAGE;

	if (addr == tf_region_block_start(b->region, b->no) ||
	    end == tf_region_block_end(b->region, b->no))
		return true;
	return is_private(b, from - 1) || is_private(b, to);
}

bool tf_gather_due(const struct tf_block *b)
{
	const struct tf_engine *e = b->region->engine;

	return b->foreign && e->gather.uffd >= 0 &&
	       (int32_t)(e->pass_no - b->gather_at) >= 0;
}

void tf_gather_block(struct tf_block *b, bool cold)
{
	struct tf_engine *e = b->region->engine;

	if (e->gather.uffd < 0 || !b->armed)
		return;
	b->foreign = false;
	for (unsigned i = 0, n; i < TF_BLOCK_PAGES; i += n) {
		for (n = 0; i + n < TF_BLOCK_PAGES && n < RUN_PAGES; n++)
			if (!fits(b, i + n, cold))
				break;
		if (n == 1 && !has_neighbour(b, i, i + 1))
			continue;
		if (n) {
			n = gather_run(b, i, n);
			tf_stop_point(e);
		}
		if (!n) { /* refused, or not yet */
			b->foreign |= b->frames[i].flags & TF_FRAME_FOREIGN;
			n = 1;
		}
	}
	b->gather_at = e->pass_no + PATIENCE;
	tf_count_vmas(b);
}
