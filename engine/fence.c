/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fence. Owns the staging area. Never reads an address that it has
 * fenced; reads staging pages only while they hold a page.
 */
#include "engine/fence.h"

#include <errno.h>
#include <sys/mman.h>

#include "engine/mapping.h"
#include "engine/spare.h"
#include "engine/state.h"

#define STAGING_BYTES (TF_STAGE_PAGES * TF_PAGE)

int tf_fence_init(struct tf_engine *e)
{
	const struct tf_os *os = e->os;
	long at = os->map(os, NULL, STAGING_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (at < 0)
		return (int)at;
	e->staging = (char *)at;
	err = os->advise(os, e->staging, STAGING_BYTES, MADV_DONTFORK);
	if (!err)
		err = os->advise(os, e->staging, STAGING_BYTES,
				 MADV_NOHUGEPAGE);
	if (err == -EINVAL) /* a kernel without huge pages */
		err = 0;
	if (err)
		return err;
	/* UFFDIO_MOVE wants an anon_vma at its destination: touch, drop. */
	*(volatile char *)e->staging = 1;
	tf_fence_sweep(e, TF_STAGE_PAGES);
	return os->uffd_register(os, e->uffd_ours, e->staging, STAGING_BYTES,
				 TF_REG_MISSING);
}

void tf_fence_fini(struct tf_engine *e)
{
	if (e->staging)
		e->os->unmap(e->os, e->staging, STAGING_BYTES);
	e->staging = NULL;
}

static uint64_t pagemap_entry(const struct tf_engine *e, const char *addr)
{
	uint64_t entry = 0;

	e->os->pagemap_read(e->os, e->pagemap, addr, &entry, 1);
	return entry;
}

/*
 * A page that was discarded between the walker's scan and its protection
 * holds a write-protection marker: not a hole to ZEROPAGE, but one to whoever
 * touches it. Unprotecting removes it; a page that is merely swapped out looks
 * written afterwards, no more.
 */
static bool unmark(const struct tf_engine *e, char *addr)
{
	if (pagemap_entry(e, addr) & TF_PM_PRESENT)
		return false;
	return !e->os->uffd_protect(e->os, e->uffd_guest, addr, TF_PAGE, false);
}

static void plug_page(const struct tf_engine *e, char *addr)
{
	const struct tf_os *os = e->os;

	if (os->uffd_zeropage(os, e->uffd_guest, addr, TF_PAGE) == -EEXIST &&
	    unmark(e, addr))
		os->uffd_zeropage(os, e->uffd_guest, addr, TF_PAGE);
}

void tf_plug_holes(struct tf_engine *e, char *addr, char *end)
{
	const struct tf_os *os = e->os;
	size_t len = (size_t)(end - addr);

	/*
	 * ZEROPAGE stops at a populated page and says how far it got; it does
	 * nothing where the range crosses mappings. A page that cannot take
	 * one is somebody's, step over it.
	 */
	while (addr < end) {
		long done = os->uffd_zeropage(os, e->uffd_guest, addr, len);

		if (done <= 0 && done != -EEXIST && len > TF_PAGE) {
			len = len / 2 & ~(TF_PAGE - 1);
			continue;
		}
		if (done <= 0)
			plug_page(e, addr);
		addr += done > 0 ? (size_t)done : TF_PAGE;
		len = (size_t)(end - addr);
	}
}

/* Plug only where the scan sees holes: one call, not one a page. */
static void plug_block(struct tf_engine *e, char *addr, char *end)
{
	const struct tf_os *os = e->os;
	struct tf_scan_range holes[64];

	while (e->scan_dirty && addr < end) {
		struct tf_scan scan = {
			.start = (uintptr_t)addr,
			.end = (uintptr_t)end,
			.vec = (uintptr_t)holes,
			.vec_len = 64,
			.category_mask = TF_PG_PRESENT | TF_PG_SWAPPED,
			.category_inverted = TF_PG_PRESENT | TF_PG_SWAPPED,
			.return_mask = TF_PG_PRESENT,
		};
		long n = os->pagemap_scan(os, e->pagemap, &scan);

		if (n < 0)
			break;
		for (long i = 0; i < n; i++)
			tf_plug_holes(e, (char *)holes[i].start,
				      (char *)holes[i].end);
		addr = (char *)scan.walk_end;
	}
	if (addr < end)
		tf_plug_holes(e, addr, end);
}

/* What the kernel copied is in no context. */
static void leave_copies_out(const struct tf_block *b)
{
	const struct tf_engine *e = b->region->engine;

	for (unsigned i = 0; b->region->cow && i < TF_BLOCK_PAGES; i++)
		if (b->frames[i].state == TF_FRAME_COW)
			e->os->uffd_unregister(e->os, e->uffd_guest,
					       tf_frame_addr(b, i), TF_PAGE);
}

int tf_fence_arm(struct tf_block *b)
{
	struct tf_region *r = b->region;
	struct tf_engine *e = r->engine;
	char *start = tf_region_block_start(r, b->no);
	char *end = tf_region_block_end(r, b->no);
	int err;

	if (b->armed)
		return 0;
	err = e->os->uffd_register(e->os, e->uffd_guest, start,
				   (size_t)(end - start),
				   TF_REG_MISSING | TF_REG_WP);
	if (err)
		return err;
	b->armed = true;
	leave_copies_out(b);
	plug_block(e, start, end);
	/* Whoever touched a hole before it was plugged. */
	tf_fence_open(e, start, end);
	return 0;
}

static bool is_there(const struct tf_engine *e, const char *addr)
{
	return pagemap_entry(e, addr) & (TF_PM_PRESENT | TF_PM_SWAPPED);
}

/*
 * Move `n` pages; the number moved, or the error of the first. Linux 6.18 may
 * move a page whose lock is contended, forget that it did, try again and
 * report EEXIST: so ask the page tables where the page is. Taking such an
 * error at its word would leave the page in staging, to be swept.
 */
static long move_pages(const struct tf_engine *e, int uffd, char *to,
		       char *from, unsigned n)
{
	long moved = e->os->uffd_move(e->os, uffd, to, from, n * TF_PAGE);

	if (moved > 0)
		return moved / (long)TF_PAGE;
	if (is_there(e, to) && !is_there(e, from))
		return 1;
	return moved ? moved : -EAGAIN;
}

long tf_fence_close(struct tf_engine *e, char *addr, unsigned n, unsigned stage)
{
	return move_pages(e, e->uffd_ours, tf_stage(e->staging, stage), addr,
			  n);
}

/* For a page that would not go back by itself: its bytes will. NULL and the
 * error if they cannot be read. The batch has reserved the page. */
static char *copy_staged(struct tf_region *r, const char *staged, int *err)
{
	const struct tf_os *os = r->engine->os;
	char *spare;

	*err = tf_spare_take(r, 1, &spare);
	if (!*err)
		*err = os->copy(os, spare, staged, TF_PAGE);
	return *err ? NULL : spare;
}

#define PUT_TRIES 64

/* One page, by every means. False: it ended as poison. */
static bool put_page(struct tf_region *r, int uffd, char *addr, char *staged)
{
	struct tf_engine *e = r->engine;
	const struct tf_os *os = e->os;
	char *spare = NULL;
	int err = 0;

	for (int i = 0; i < PUT_TRIES && err != -EHWPOISON; i++) {
		if (move_pages(e, uffd, addr, staged, 1) == 1)
			return true;
		if (!spare)
			spare = copy_staged(r, staged, &err);
		if (spare && !tf_spare_place(r, spare, 1, addr))
			return true;
	}
	/* The home is gone and no mapping can be moved: make one. Whoever looks
	 * in the instant before it is registered reads zeros instead of dying. */
	if (err != -EHWPOISON && !tf_map_hole(r, addr, 1, true) &&
	    move_pages(e, e->uffd_guest, addr, staged, 1) == 1)
		return true;
	os->uffd_poison(os, uffd, addr, TF_PAGE);
	if (e->poison_found)
		e->poison_found(e, addr);
	tf_log(&e->log, TF_LOG_ERR,
	       "guest %s: page at gpa %#llx lost to a memory error while it "
	       "was fenced",
	       r->guest->name, (unsigned long long)tf_region_gpa(r, addr));
	return false;
}

unsigned tf_fence_put_from(struct tf_region *r, int uffd, char *addr,
			   unsigned n, char *staged)
{
	struct tf_engine *e = r->engine;
	unsigned done = 0, lost = 0;

	while (done < n) {
		long moved = move_pages(e, uffd, addr + done * TF_PAGE,
					staged + done * TF_PAGE, n - done);

		if (moved > 0) {
			done += (unsigned)moved;
			continue;
		}
		lost += !put_page(r, uffd, addr + done * TF_PAGE,
				  staged + done * TF_PAGE);
		done++;
	}
	return lost;
}

unsigned tf_fence_put_back(struct tf_region *r, int uffd, char *addr,
			   unsigned n, unsigned stage)
{
	return tf_fence_put_from(r, uffd, addr, n,
				 tf_stage(r->engine->staging, stage));
}

unsigned tf_fence_shift(const struct tf_engine *e, int uffd, char *to,
			char *from, unsigned n)
{
	unsigned done = 0;

	while (done < n) {
		size_t off = done * TF_PAGE;
		long moved =
			move_pages(e, uffd, to + off, from + off, n - done);

		if (moved <= 0)
			break;
		done += (unsigned)moved;
	}
	return done;
}

void tf_fence_open(struct tf_engine *e, char *addr, char *end)
{
	e->os->uffd_wake(e->os, e->uffd_guest, addr, (size_t)(end - addr));
}

void tf_fence_sweep(struct tf_engine *e, unsigned n)
{
	const struct tf_os *os = e->os;

	if (os->advise(os, e->staging, n * TF_PAGE, MADV_DONTNEED) != -EINVAL)
		return;
	/*
	 * mlockall() has locked it with all the rest. Unlocked, it takes no
	 * page of locked memory: that is left alone.
	 */
	os->unlock(os, e->staging, STAGING_BYTES);
	os->advise(os, e->staging, STAGING_BYTES, MADV_DONTNEED);
}
