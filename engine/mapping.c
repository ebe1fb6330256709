/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * MAP_FIXED, and putting back what it drops. Knows addresses, slots and
 * attributes; the caller knows why. Caller holds the engine's lock.
 */
#include "engine/mapping.h"

#include <errno.h>
#include <sys/mman.h>

#include "engine/chain.h"
#include "engine/marker.h"
#include "engine/state.h"

bool tf_protect(const struct tf_engine *e, char *addr, unsigned n)
{
	const struct tf_os *os = e->os;

	if (os->uffd_register(os, e->uffd_merged, addr, n * TF_PAGE,
			      TF_REG_WP) ||
	    os->uffd_protect(os, e->uffd_merged, addr, n * TF_PAGE, true))
		return false;
	return e->marker ||
	       !os->advise(os, addr, n * TF_PAGE, TF_POPULATE_READ);
}

int tf_map_slots(struct tf_region *r, char *addr, unsigned n, uint32_t slot,
		 bool *protected_ret)
{
	const struct tf_engine *e = r->engine;
	const struct tf_os *os = e->os;
	long at =
		os->map(os, addr, n * TF_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_FIXED | tf_attrs_map_flags(&r->attrs),
			r->store->fd, (uint64_t)slot * TF_PAGE);

	if (at < 0)
		return (int)at;
	tf_attrs_apply_merged(os, &r->attrs, addr, n * TF_PAGE);
	*protected_ret = tf_protect(e, addr, n);
	return 0;
}

/* A page that is there and is not the file's is the kernel's copy. One that
 * is not there and carries no marker may be one that was swapped out. */
static bool is_copy(const struct tf_engine *e, uint64_t entry)
{
	if (tf_marker_is(e, entry))
		return false;
	return !(entry & TF_PM_PRESENT) || !(entry & TF_PM_FILE);
}

/* Entries read at once: small, since signal handlers heal on small stacks. */
#define ENTRIES 64u

static int find_copied(const struct tf_engine *e, const char *addr, unsigned n,
		       bool *copied)
{
	uint64_t entries[ENTRIES];
	long got = e->os->pagemap_read(e->os, e->pagemap, addr, entries, n);

	if (got < (long)n)
		return got < 0 ? (int)got : -EIO;
	for (unsigned i = 0; i < n; i++)
		copied[i] = is_copy(e, entries[i]);
	return 0;
}

int tf_find_copied(const struct tf_engine *e, const char *addr, unsigned n,
		   bool *copied)
{
	int err = 0;

	for (unsigned i = 0; i < n && !err; i += ENTRIES)
		err = find_copied(e, addr + i * TF_PAGE,
				  n - i < ENTRIES ? n - i : ENTRIES,
				  copied + i);
	return err;
}

void tf_unprotect(struct tf_engine *e, char *addr, unsigned n)
{
	const struct tf_os *os = e->os;

	/* UNREGISTER can lose a wake-up (kernel bug): wake after it. */
	if (os->uffd_unregister(os, e->uffd_merged, addr, n * TF_PAGE))
		os->uffd_protect(os, e->uffd_merged, addr, n * TF_PAGE, false);
	os->uffd_wake(os, e->uffd_merged, addr, n * TF_PAGE);
}

int tf_map_hole(struct tf_region *r, char *addr, unsigned n, bool armed)
{
	const struct tf_os *os = r->engine->os;
	long at = os->map(os, addr, n * TF_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
				  tf_attrs_map_flags(&r->attrs),
			  -1, 0);

	if (at < 0)
		return (int)at;
	tf_attrs_apply(os, &r->attrs, addr, n * TF_PAGE);
	tf_watch(r, addr, n, armed);
	return 0;
}

void tf_watch(struct tf_region *r, char *addr, unsigned n, bool armed)
{
	const struct tf_engine *e = r->engine;
	struct tf_block *b = tf_block_find(r, tf_region_block_of(r, addr));
	unsigned page = tf_region_page_of(r, addr);
	int err = e->os->uffd_register(e->os, e->uffd_guest, addr, n * TF_PAGE,
				       armed ? TF_REG_MISSING | TF_REG_WP :
					       TF_REG_WP);

	for (unsigned i = page; i < page + n; i++) {
		if (err)
			tf_bit_set(&b->blind, i);
		else
			tf_bit_clear(&b->blind, i);
	}
}

bool tf_watched(struct tf_block *b, unsigned page)
{
	const struct tf_engine *e = b->region->engine;
	char *addr = tf_frame_addr(b, page);

	if (!tf_bit(&b->blind, page))
		return true;
	/* Gathering may not have been able to let go of it. */
	if (e->gather.uffd >= 0)
		e->os->uffd_unregister(e->os, e->gather.uffd, addr, TF_PAGE);
	tf_watch(b->region, addr, 1, true);
	return !tf_bit(&b->blind, page);
}

/* Is `page` in the same mapping as the page before it? */
static bool joined(const struct tf_block *b, unsigned page)
{
	const struct tf_frame *f = &b->frames[page], *p = f - 1;
	bool merged = f->state == TF_FRAME_SHARED;
	const struct tf_engine *e = b->region->engine;

	if (f->state == TF_FRAME_COW || p->state == TF_FRAME_COW)
		return false;
	if (merged != (p->state == TF_FRAME_SHARED))
		return false;
	if (merged)
		return tf_dup_get(e, f->shared.dup)->slot ==
		       tf_dup_get(e, p->shared.dup)->slot + 1;
	return !((f->flags | p->flags) & TF_FRAME_FOREIGN) &&
	       !(f->flags & TF_FRAME_BORDER);
}

unsigned tf_borders(const struct tf_block *b, unsigned page)
{
	unsigned n = page ? !joined(b, page) :
			    b->frames[0].state == TF_FRAME_SHARED;

	return n + (page + 1 < TF_BLOCK_PAGES && !joined(b, page + 1));
}

void tf_count_borders(struct tf_block *b, unsigned page, unsigned before)
{
	unsigned now = tf_borders(b, page);

	b->region->engine->n.vmas += now;
	b->region->engine->n.vmas -= before;
	b->vmas += now;
	b->vmas -= before;
}

void tf_count_vmas(struct tf_block *b)
{
	struct tf_engine *e = b->region->engine;
	uint32_t vmas = 0;

	for (unsigned i = 1; i < TF_BLOCK_PAGES; i++)
		vmas += !joined(b, i);
	/* A pair of neighbouring blocks shares its border with nobody else:
	 * count a merged first page as a border too. */
	vmas += b->frames[0].state == TF_FRAME_SHARED;
	e->n.vmas += vmas;
	e->n.vmas -= b->vmas;
	b->vmas = vmas;
}
