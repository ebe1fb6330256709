/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The range walker, in two modes.
 *
 * TF_SCAN_DIRTY asks PAGEMAP_SCAN for pages that were written since they were
 * last protected, and protects exactly those again, in a second step:
 * PM_SCAN_WP_MATCHING would do both, but notifies KVM of the whole range,
 * clean or not. It is used for clusters only, where written pages lie so close
 * that one call for each would cost more than a guest's faults on the clean
 * pages between them. The mask includes PRESENT, or holes match too and get page
 * tables; and WPALLOWED, which makes the kernel step over merged mappings.
 * Huge pages are reported, not protected: a write would split them.
 *
 * TF_SCAN_HASH reads pagemap in bulk and reports every populated page.
 */
#include "engine/walker.h"

#include <errno.h>

#include "engine/state.h"

#define RANGES 256u

/* Put a range into the blocks it spans. Pages for whose block there is no
 * memory are left out; they come back with their next write. */
static void mark(struct tf_region *r, char *from, char *to, bool huge)
{
	while (from < to) {
		uint32_t no = tf_region_block_of(r, from);
		char *end = tf_region_block_end(r, no);
		struct tf_block *b = tf_block_make(r, no);
		unsigned first = tf_region_page_of(r, from);
		unsigned n;

		if (end > to)
			end = to;
		n = (unsigned)((size_t)(end - from) / TF_PAGE);
		if (b) {
			tf_bits_set_range(&b->written, first, first + n);
			if (huge)
				tf_bits_set_range(&b->huge, first, first + n);
		}
		from = end;
	}
}

/* Clean pages that a cluster may have between two written ones. */
#define CLUSTER_GAP 16u

#define WP_MATCHING UINT64_C(1) /* PM_SCAN_WP_MATCHING */

struct found {
	struct tf_region *r;
	struct tf_scan_range range[RANGES];
	unsigned n;
};

static const struct tf_scan written_pages = {
	.category_mask = TF_PG_WPALLOWED | TF_PG_PRESENT | TF_PG_WRITTEN |
			 TF_PG_PFNZERO,
	.category_inverted = TF_PG_PFNZERO,
	.return_mask = TF_PG_PRESENT | TF_PG_HUGE,
};

static bool is_huge(const struct tf_scan_range *range)
{
	return range->categories & TF_PG_HUGE;
}

/* Where the cluster that begins with range `i` ends. Never beyond a block, so
 * that a huge page is in none. */
static unsigned cluster_end(const struct found *f, unsigned i)
{
	const struct tf_scan_range *range = f->range;
	uint64_t block = range[i].start / TF_BLOCK_BYTES;

	if (is_huge(&range[i]))
		return i + 1;
	for (i++; i < f->n; i++)
		if (is_huge(&range[i]) ||
		    (range[i].end - 1) / TF_BLOCK_BYTES != block ||
		    range[i].start - range[i - 1].end > CLUSTER_GAP * TF_PAGE)
			break;
	return i;
}

/*
 * Protect what is written in [start, end), and mark it: also what was written
 * since the scan, which nobody would report any more.
 */
static bool protect_cluster(struct tf_region *r, uint64_t start, uint64_t end)
{
	struct tf_engine *e = r->engine;
	struct tf_scan_range more[RANGES];
	struct tf_scan scan = written_pages;

	scan.flags = WP_MATCHING;
	scan.vec = (uintptr_t)more;
	scan.vec_len = RANGES;
	scan.end = end;
	for (scan.start = start; scan.start < end; scan.start = scan.walk_end) {
		long n = e->os->pagemap_scan(e->os, e->pagemap, &scan);

		if (n < 0)
			return false;
		pthread_mutex_lock(&e->lock);
		for (long i = 0; i < n; i++)
			mark(r, (char *)more[i].start, (char *)more[i].end,
			     false);
		pthread_mutex_unlock(&e->lock);
	}
	return true;
}

/* Protect before anything is read: a later write is seen. */
static void protect_found(const struct found *f)
{
	struct tf_engine *e = f->r->engine;

	for (unsigned i = 0, end; i < f->n; i = end) {
		const struct tf_scan_range *range = f->range;

		end = cluster_end(f, i);
		if (end > i + 1 &&
		    protect_cluster(f->r, range[i].start, range[end - 1].end))
			continue;
		for (unsigned k = i; k < end; k++)
			if (!is_huge(&range[k]))
				e->os->uffd_protect(
					e->os, e->uffd_guest,
					(void *)range[k].start,
					range[k].end - range[k].start, true);
	}
}

static long mark_found(const struct found *f)
{
	long pages = 0;

	for (unsigned i = 0; i < f->n; i++) {
		const struct tf_scan_range *range = &f->range[i];

		mark(f->r, (char *)range->start, (char *)range->end,
		     is_huge(range));
		pages += (long)((range->end - range->start) / TF_PAGE);
	}
	return pages;
}

static long walk_dirty(struct tf_region *r, char *from, char *to,
		       char **reached)
{
	struct tf_engine *e = r->engine;
	struct found found = { .r = r };
	struct tf_scan scan = written_pages;
	long n, pages;

	scan.start = (uintptr_t)from;
	scan.end = (uintptr_t)to;
	scan.vec = (uintptr_t)found.range;
	scan.vec_len = RANGES;
	n = e->os->pagemap_scan(e->os, e->pagemap, &scan);
	if (n < 0)
		return n;
	found.n = (unsigned)n;
	protect_found(&found);
	pthread_mutex_lock(&e->lock);
	pages = mark_found(&found);
	pthread_mutex_unlock(&e->lock);
	*reached = (char *)scan.walk_end;
	return pages;
}

static long walk_all(struct tf_region *r, char *from, char *to, char **reached)
{
	struct tf_engine *e = r->engine;
	uint64_t entries[TF_BLOCK_PAGES];
	size_t want = (size_t)(to - from) / TF_PAGE;
	long n, pages = 0;

	if (want > TF_BLOCK_PAGES)
		want = TF_BLOCK_PAGES;
	n = e->os->pagemap_read(e->os, e->pagemap, from, entries, want);
	if (n <= 0)
		return n < 0 ? n : -EIO;
	pthread_mutex_lock(&e->lock);
	for (long i = 0; i < n; i++) {
		char *addr = from + (size_t)i * TF_PAGE;

		if (!(entries[i] & TF_PM_PRESENT))
			continue;
		mark(r, addr, addr + TF_PAGE, false);
		pages++;
	}
	pthread_mutex_unlock(&e->lock);
	*reached = from + (size_t)n * TF_PAGE;
	return pages;
}

long tf_walk(struct tf_region *r, char *from, char *to, char **reached)
{
	if (r->engine->scan_dirty)
		return walk_dirty(r, from, to, reached);
	return walk_all(r, from, to, reached);
}
