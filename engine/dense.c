/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dense zero pages, one run at a time. A run is one mapping of pages without
 * a place, or candidates for one, at most RUN_PAGES of them:
 *
 *   close   all its pages move to staging; a pinned one ends the run
 *   judge   the zero pages among them are compared, all 4096 bytes
 *   lay     the run's mapping, empty, is moved aside, and the pages into it
 *   drop    there the zero pages are freed and the zero page is put in
 *   home    the mapping goes back in one step: it never stopped being the
 *           region's own, so it joins its neighbours again
 *   watch   registered and protected anew
 *   book    what is the zero page by now, as the page tables say; candidates
 *           are none any more; then the sleepers wake
 *
 * From `close` to `home` the run is a hole registered for missing faults, and
 * its bytes are in staging or aside. Between `home` and the protection writes
 * are not seen. They lose nothing: pages of the run are hashed later, and a
 * page that was written is not the zero page any more when it is booked.
 */
#include "engine/dense.h"

#include "engine/book.h"
#include "engine/forks.h"
#include "engine/mapping.h"
#include "engine/merge.h"
#include "engine/pins.h"
#include "engine/spare.h"
#include "engine/state.h"

/* The fence is shut for as long as a run takes, about 150 us. */
#define RUN_PAGES TF_DENSE_PAGES
_Static_assert(RUN_PAGES <= TF_STAGE_PAGES, "a run fits into staging");

/* Runs of zero pages in those that are worth it: where no CPU runs the guest;
 * where one does, a tenth of them would be. */
#define DENSE_RUNS 32u

struct haul {
	struct tf_batch *batch;
	struct tf_engine *e;
	struct tf_region *r;
	struct tf_block *b;
	const struct tf_bits *zeros;
	struct tf_bits *moved;
	unsigned page, n;
	char *addr;      /* of `page` */
	char *aside;     /* the run's mapping on its way, or NULL */
	unsigned inside; /* pages that are there; the others are in staging */
	bool drop[RUN_PAGES];
};

static size_t bytes_of(const struct haul *h)
{
	return h->n * TF_PAGE;
}

/* May it be moved along, and hashed afterwards? */
static bool fits(const struct tf_block *b, unsigned page)
{
	const struct tf_frame *f = &b->frames[page];

	return (f->state == TF_FRAME_CANDIDATE ||
		(f->state == TF_FRAME_NEW && tf_bit(&b->pending, page))) &&
	       !(f->flags & (TF_FRAME_FOREIGN | TF_FRAME_HASHED)) &&
	       !tf_bit(&b->blind, page) && !tf_pinned(b, page);
}

/* The run that begins with `page`: a number of pages, perhaps 0. */
static unsigned run_length(const struct tf_block *b, unsigned page)
{
	unsigned n = 0;

	while (n < RUN_PAGES && page + n < TF_BLOCK_PAGES &&
	       fits(b, page + n)) {
		if (n && b->frames[page + n].flags & TF_FRAME_BORDER)
			break;
		n++;
	}
	return n;
}

static unsigned zero_runs(const struct tf_bits *zeros, unsigned page,
			  unsigned n)
{
	unsigned runs = 0;
	bool last = false;

	for (unsigned i = page; i < page + n; i++) {
		bool is = tf_bit(zeros, i);

		runs += is && !last;
		last = is;
	}
	return runs;
}

static bool judge(struct haul *h)
{
	const struct tf_os *os = h->e->os;
	bool any = false;

	for (unsigned i = 0; i < h->n; i++) {
		h->drop[i] = tf_bit(h->zeros, h->page + i) &&
			     os->equal(os, tf_stage(h->e->staging, i),
				       h->e->zero_page, TF_PAGE) == 1;
		any |= h->drop[i];
	}
	return any;
}

static bool lay(struct haul *h)
{
	const struct tf_os *os = h->e->os;
	long at = os->remap_away(os, h->addr, bytes_of(h));

	if (at < 0)
		return false;
	h->aside = (char *)at;
	__atomic_store_n(&h->e->aside, h->aside, __ATOMIC_RELEASE);
	if (os->uffd_register(os, h->e->uffd_guest, h->aside, bytes_of(h),
			      TF_REG_WP))
		return false;
	h->inside = tf_fence_shift(h->e, h->e->uffd_guest, h->aside,
				   h->e->staging, h->n);
	return h->inside == h->n;
}

/* Neither step must succeed: what is not dropped is not booked, and holes are
 * plugged at home. */
static void drop(struct haul *h, bool *plugged)
{
	struct iovec vec[RUN_PAGES];
	const struct tf_os *os = h->e->os;
	unsigned n = 0;

	for (unsigned i = 0, j; i < h->n; i = j) {
		for (j = i + 1; j < h->n && h->drop[j] == h->drop[i];)
			j++;
		if (h->drop[i])
			vec[n++] = (struct iovec){
				.iov_base = h->aside + i * TF_PAGE,
				.iov_len = (j - i) * TF_PAGE,
			};
	}
	os->drop(os, vec, n);
	*plugged = !os->advise(os, h->aside, bytes_of(h), TF_POPULATE_READ);
}

/* The pages are in staging or aside: home, one by one if need be. */
static void undo(struct haul *h)
{
	struct tf_engine *e = h->e;

	if (h->inside)
		tf_fence_put_from(h->r, e->uffd_guest, h->addr, h->inside,
				  h->aside);
	tf_fence_put_back(h->r, e->uffd_guest, h->addr + h->inside * TF_PAGE,
			  h->n - h->inside, h->inside);
	tf_fence_sweep(e, h->n);
}

static void watch(struct haul *h, bool plugged)
{
	const struct tf_os *os = h->e->os;

	tf_watch(h->r, h->addr, h->n, true);
	if (!plugged)
		tf_plug_holes(h->e, h->addr, h->addr + bytes_of(h));
	os->uffd_protect(os, h->e->uffd_guest, h->addr, bytes_of(h), true);
}

static bool replace(struct haul *h)
{
	const struct tf_os *os = h->e->os;
	bool plugged;

	if (!lay(h))
		return false;
	drop(h, &plugged);
	if (os->remap_over(os, h->aside, bytes_of(h), h->addr))
		return false;
	watch(h, plugged);
	tf_bits_set_range(h->moved, h->page, h->page + h->n);
	return true;
}

/* Pages [from, to) are the zero page. Those that were to be dropped are so by
 * our doing. */
static void book_range(struct haul *h, const char *from, const char *to)
{
	for (; from < to; from += TF_PAGE) {
		unsigned i = (unsigned)((size_t)(from - h->addr) / TF_PAGE);

		if (h->drop[i])
			tf_book_zero(h->batch, h->b, h->page + i);
	}
}

/* Their hashes may be older than a write that nobody will report. */
static void forget_hashes(struct haul *h)
{
	for (unsigned i = h->page; i < h->page + h->n; i++)
		if (h->b->frames[i].state == TF_FRAME_CANDIDATE)
			tf_book_written(h->b, i);
}

static void book(struct haul *h)
{
	struct tf_scan_range range[64];
	struct tf_scan scan = {
		.start = (uintptr_t)h->addr,
		.end = (uintptr_t)h->addr + bytes_of(h),
		.vec = (uintptr_t)range,
		.vec_len = 64,
		.category_mask = TF_PG_PRESENT | TF_PG_PFNZERO,
		.return_mask = TF_PG_PFNZERO,
	};

	forget_hashes(h);
	while (scan.start < scan.end) {
		long n = h->e->os->pagemap_scan(h->e->os, h->e->pagemap, &scan);

		if (n < 0)
			return;
		for (long i = 0; i < n; i++)
			book_range(h, (char *)range[i].start,
				   (char *)range[i].end);
		scan.start = scan.walk_end;
	}
}

/* The fence is shut. */
static void haul(struct haul *h)
{
	size_t len = bytes_of(h);

	if (judge(h) && replace(h))
		book(h);
	else
		undo(h);
	if (!h->aside)
		return;
	__atomic_store_n(&h->e->aside, NULL, __ATOMIC_RELEASE);
	h->e->os->unmap(h->e->os, h->aside, len);
}

static void haul_run(struct haul *h)
{
	if (tf_spare_reserve(h->r, h->n) || !tf_fork_gate_enter())
		return;
	h->addr = tf_frame_addr(h->b, h->page);
	h->n = tf_fence_shift(h->e, h->e->uffd_ours, h->e->staging, h->addr,
			      h->n);
	if (h->n)
		haul(h);
	tf_fork_gate_leave();
	tf_fence_open(h->e, h->addr, h->addr + bytes_of(h));
}

/* Where the next run is to be looked for. */
static unsigned next_run(struct haul *h, unsigned page)
{
	h->page = page;
	h->n = run_length(h->b, page);
	h->aside = NULL;
	h->inside = 0;
	if (zero_runs(h->zeros, page, h->n) < DENSE_RUNS)
		return page + (h->n ? h->n : 1);
	haul_run(h);
	tf_stop_point(h->e);
	/* Past the page that refused. */
	return page + h->n + 1;
}

void tf_dense_zeros(struct tf_batch *batch, struct tf_block *b,
		    const struct tf_bits *zeros, struct tf_bits *moved)
{
	struct haul h = {
		.batch = batch,
		.e = batch->engine,
		.r = b->region,
		.b = b,
		.zeros = zeros,
		.moved = moved,
	};
	unsigned page = 0;

	if (zero_runs(zeros, 0, TF_BLOCK_PAGES) < DENSE_RUNS)
		return;
	while (page < TF_BLOCK_PAGES && !b->region->dying && !b->ksm &&
	       !tf_fence_arm(b))
		page = next_run(&h, page);
}
