/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The range walker, in two modes.
 *
 * TF_SCAN_DIRTY asks PAGEMAP_SCAN for pages that were written since they were
 * last protected, and protects exactly those again, in a second step:
 * PM_SCAN_WP_MATCHING would do both, but notifies KVM of the whole range,
 * clean or not. The mask includes PRESENT, or holes match too and get page
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

static long walk_dirty(struct tf_region *r, char *from, char *to,
		       char **reached)
{
	struct tf_engine *e = r->engine;
	const struct tf_os *os = e->os;
	struct tf_scan_range found[RANGES];
	struct tf_scan scan = {
		.start = (uintptr_t)from,
		.end = (uintptr_t)to,
		.vec = (uintptr_t)found,
		.vec_len = RANGES,
		.category_mask = TF_PG_WPALLOWED | TF_PG_PRESENT |
				 TF_PG_WRITTEN | TF_PG_PFNZERO,
		.category_inverted = TF_PG_PFNZERO,
		.return_mask = TF_PG_PRESENT | TF_PG_HUGE,
	};
	long n = os->pagemap_scan(os, e->pagemap, &scan), pages = 0;

	if (n < 0)
		return n;
	/* Protect before anything is read: a later write is seen. */
	for (long i = 0; i < n; i++)
		if (!(found[i].categories & TF_PG_HUGE))
			os->uffd_protect(os, e->uffd_guest,
					 (void *)found[i].start,
					 found[i].end - found[i].start, true);
	pthread_mutex_lock(&e->lock);
	for (long i = 0; i < n; i++) {
		mark(r, (char *)found[i].start, (char *)found[i].end,
		     found[i].categories & TF_PG_HUGE);
		pages += (long)((found[i].end - found[i].start) / TF_PAGE);
	}
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
