/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Faults on purpose. A simulated one destroys data for real: the page traps
 * in every mapping that a fault would take, the engine's own included, and
 * then its bytes are overwritten, so that reading the lost page can never pass
 * for healing.
 *
 * A trap is a mapping of one page with a poison marker (UFFDIO_POISON), made
 * elsewhere and moved into place by one mremap().
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/cleanup.h"
#include "engine/book.h"
#include "engine/chain.h"
#include "engine/fence.h"
#include "engine/forks.h"
#include "engine/mapping.h"
#include "engine/part.h"
#include "engine/store.h"
#include "ras/internal.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#define GARBAGE 0xa5

/* Whose memory the trap stands for. */
struct trap {
	int fd, prot, flags;
	uint64_t off;
	const struct tf_attrs *attrs;
};

static int trap_make(struct tf_engine *e, const struct trap *t, char **ret)
{
	const struct tf_os *os = e->os;
	long at = os->map(os, NULL, TF_PAGE, t->prot, t->flags, t->fd, t->off);
	int err;

	if (at < 0)
		return (int)at;
	if (t->attrs && t->fd < 0)
		tf_attrs_apply(os, t->attrs, (char *)at, TF_PAGE);
	else if (t->attrs)
		tf_attrs_apply_merged(os, t->attrs, (char *)at, TF_PAGE);
	err = os->uffd_register(os, e->uffd_merged, (char *)at, TF_PAGE,
				TF_REG_WP);
	if (!err)
		err = os->uffd_poison(os, e->uffd_merged, (char *)at, TF_PAGE);
	/* A registered mapping that is moved beside sharers joins them, and
	 * then loses its registration: theirs would go as well. */
	if (!err)
		err = os->uffd_unregister(os, e->uffd_merged, (char *)at,
					  TF_PAGE);
	if (err)
		os->unmap(os, (char *)at, TF_PAGE);
	else
		*ret = (char *)at;
	return err;
}

static int trap_lay(struct tf_engine *e, const struct trap *t, char *addr)
{
	char *made = NULL;
	int err = trap_make(e, t, &made);

	if (err)
		return err;
	err = e->os->remap_over(e->os, made, TF_PAGE, addr);
	e->os->unmap(e->os, made, TF_PAGE);
	return err;
}

static int trap_private(struct tf_block *b, unsigned page)
{
	struct tf_region *r = b->region;
	struct trap t = { .fd = -1,
			  .prot = PROT_READ | PROT_WRITE,
			  .flags = MAP_PRIVATE | MAP_ANONYMOUS |
				   tf_attrs_map_flags(&r->attrs),
			  .attrs = &r->attrs };
	int err = trap_lay(r->engine, &t, tf_frame_addr(b, page));

	if (err)
		return err;
	/* The kernel's copy is lost, and its mapping of the slot is gone. */
	if (b->frames[page].state == TF_FRAME_COW)
		tf_book_private(b, page, true);
	b->frames[page].flags |= TF_FRAME_FOREIGN;
	tf_watch(r, tf_frame_addr(b, page), 1, b->armed);
	return 0;
}

static bool staged_is_zero(const struct tf_engine *e)
{
	return e->os->equal(e->os, tf_stage(e->staging, 0), e->zero_page,
			    TF_PAGE) == 1;
}

/*
 * A private page, behind a fence, so that nobody writes between looking and
 * losing it. If it was zeros, and zeros by the engine's doing, that is known
 * to be its content: the kernel's zero page cannot fail, but a drill wants to
 * see it heal. A page that cannot be fenced is lost all the same.
 */
static int lose_private(struct tf_block *b, unsigned page)
{
	struct tf_engine *e = b->region->engine;
	char *addr = tf_frame_addr(b, page);
	bool fenced = b->armed && tf_fork_gate_enter();
	bool staged = fenced && tf_fence_close(e, addr, 1, 0) == 1;
	bool zero = staged && b->frames[page].state == TF_FRAME_ZERO &&
		    staged_is_zero(e);
	int err = trap_private(b, page);

	if (!err && zero)
		tf_bit_set(&b->lost_zero, page);
	if (err && staged) /* no fault after all: nothing is lost */
		tf_fence_put_back(b->region, e->uffd_guest, addr, 1, 0);
	if (fenced)
		tf_fork_gate_leave();
	tf_fence_sweep(e, 1);
	tf_fence_open(e, addr, addr + TF_PAGE);
	return err;
}

static int trap_sharers(struct tf_engine *e, const struct tf_dup *d)
{
	struct trap t = { .fd = d->store->fd,
			  .off = (uint64_t)d->slot * TF_PAGE,
			  .prot = PROT_READ | PROT_WRITE,
			  .flags = MAP_PRIVATE };
	int err = 0;

	for (unsigned i = 0; i < d->nsharers && !err; i++) {
		struct tf_block *b = tf_ref_block(e, tf_dup_sharers(d)[i]);

		t.attrs = &b->region->attrs;
		err = trap_lay(
			e, &t,
			tf_frame_addr(b, tf_ref_page(tf_dup_sharers(d)[i])));
	}
	return err;
}

/* Frames that the kernel would copy on their next write have the page, too:
 * those that it has not copied become sharers. */
static void recover_block(struct tf_block *b, uint32_t id)
{
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
		if (b->frames[i].state == TF_FRAME_COW &&
		    b->frames[i].shared.dup == id)
			tf_cow_recover(b, i);
}

static void recover_all(struct tf_engine *e, uint32_t id)
{
	for (size_t i = 0; i < e->nregions; i++) {
		const struct tf_region *r = e->regions[i];
		struct tf_block *b;

		for (uint64_t no = 0; r->cow && (b = tf_block_next(r, no));
		     no = b->no + 1ul)
			recover_block(b, id);
	}
}

static int lose_dup(struct tf_engine *e, uint32_t id)
{
	const struct tf_dup *d = tf_dup_get(e, id);
	const struct tf_store *s = d->store;
	struct trap ours = { .fd = s->fd,
			     .off = (uint64_t)d->slot * TF_PAGE,
			     .prot = PROT_READ,
			     .flags = MAP_SHARED };
	char garbage[TF_PAGE];
	int err;

	recover_all(e, id);
	err = trap_sharers(e, d);
	if (!err)
		err = trap_lay(e, &ours, (char *)tf_slot_bytes(s, d->slot));
	if (err)
		return err;
	memset(garbage, GARBAGE, sizeof(garbage));
	return e->os->write_at(e->os, s->fd, garbage, TF_PAGE, ours.off) ==
			       (long)TF_PAGE ?
		       0 :
		       -EIO;
}

static struct tf_region *region_of_gpa(const struct tf_guest *g, uint64_t gpa)
{
	struct tf_region *r;

	tf_list_for_each(r, &g->regions, link)
		if (gpa >= r->gpa &&
		    gpa - r->gpa < (uint64_t)(r->end - r->start) && !r->dying)
			return r;
	return NULL;
}

/* Caller holds pass_lock (the staging area) and lock. */
static int inject_sim(struct tf_engine *e, struct tf_region *r, char *addr)
{
	struct tf_block *b = tf_block_make(r, tf_region_block_of(r, addr));
	unsigned page = tf_region_page_of(r, addr);

	if (!b)
		return -ENOMEM;
	if (b->frames[page].state == TF_FRAME_SHARED)
		return lose_dup(e, b->frames[page].shared.dup);
	return lose_private(b, page);
}

/* By page frame, whatever is there now. */
static int inject_pfn(struct tf_engine *e, const char *addr)
{
	uint64_t entry = 0, pfn;
	char text[32];

	e->os->pagemap_read(e->os, e->pagemap, addr, &entry, 1);
	pfn = entry & ((UINT64_C(1) << 55) - 1);
	if (!(entry & TF_PM_PRESENT) || !pfn)
		return -ENOENT;
	snprintf(text, sizeof(text), "%#" PRIx64, pfn);
	if (!e->os->write_file(e->os, "/sys/kernel/debug/hwpoison/corrupt-pfn",
			       text))
		return 0;
	snprintf(text, sizeof(text), "%#" PRIx64, pfn << TF_PAGE_SHIFT);
	return e->os->write_file(
		e->os, "/sys/devices/system/memory/hard_offline_page", text);
}

static int cannot(struct tf_engine *e, const char *how, const char *lacks)
{
	tf_log(&e->log, TF_LOG_WARNING, "inject: %s needs %s on this host", how,
	       lacks);
	return -EOPNOTSUPP;
}

/* These may raise SIGBUS in this very thread: no lock is held. */
static int inject_kernel(struct tf_engine *e, char *addr, enum tf_inject how)
{
	int err;

	if (how == TF_INJECT_MADVISE) {
		err = e->os->advise(e->os, addr, TF_PAGE, MADV_HWPOISON);
		return err == -EINVAL || err == -EPERM ?
			       cannot(e, "madvise",
				      "CONFIG_MEMORY_FAILURE and "
				      "CAP_SYS_ADMIN") :
			       err;
	}
	err = inject_pfn(e, addr);
	return err == -ENOENT || err == -EACCES || err == -EPERM ?
		       cannot(e, "hwpoison",
			      "hwpoison-inject or hard_offline_page, and "
			      "CAP_SYS_ADMIN") :
		       err;
}

static int inject(struct tf_engine *e, struct tf_guest *g, uint64_t gpa,
		  enum tf_inject how)
{
	struct tf_region *r;
	char *addr = NULL;
	int err = -ENOENT;

	pthread_mutex_lock(&e->pass_lock);
	pthread_mutex_lock(&e->lock);
	r = region_of_gpa(g, gpa);
	if (r) {
		addr = r->start + ((gpa - r->gpa) & ~(TF_PAGE - 1));
		err = how == TF_INJECT_SIM ? inject_sim(e, r, addr) : 0;
	}
	pthread_mutex_unlock(&e->lock);
	pthread_mutex_unlock(&e->pass_lock);
	if (err || how == TF_INJECT_SIM)
		return err;
	return inject_kernel(e, addr, how);
}

int tf_ras_inject(struct tf_engine *e, struct tf_guest *g, uint64_t gpa,
		  enum tf_inject how)
{
	struct tf_ras *ras = ras_enter(e);
	int err;

	if (!ras)
		return -ENODEV;
	if ((unsigned)how > TF_INJECT_HWPOISON)
		err = -EINVAL;
	else if (!e->can_merge && how == TF_INJECT_SIM)
		err = cannot(e, "sim", "UFFDIO_POISON (Linux 6.6)");
	else
		err = inject(e, g, gpa, how);
	ras_leave(ras);
	return err;
}
