/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memslots: from registration to removal. Owns struct tf_region. Refuses what
 * cannot be merged; the log line says what to do about it.
 */
#include "engine/memslot.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/base/cleanup.h"
#include "engine/book.h"
#include "engine/breaks.h"
#include "engine/budget.h"
#include "engine/leftover.h"
#include "engine/locked.h"
#include "engine/part.h"
#include "engine/scatter.h"
#include "engine/spare.h"
#include "engine/state.h"
#include "engine/store.h"

static int slot_check(struct tf_guest *g, uint32_t slot, uint64_t gpa,
		      const void *hva, size_t bytes)
{
	const struct tf_logger *log = &g->engine->log;

	if (!bytes || (gpa | (uintptr_t)hva | bytes) % TF_PAGE) {
		tf_log(log, TF_LOG_WARNING,
		       "memslot %u refused: gpa %#llx, address %p and size %zu "
		       "must be multiples of 4096 and not empty",
		       slot, (unsigned long long)gpa, hva, bytes);
		return -EINVAL;
	}
	if (gpa + bytes < gpa || (uintptr_t)hva + bytes < (uintptr_t)hva) {
		tf_log(log, TF_LOG_WARNING,
		       "memslot %u refused: it wraps around the end of memory",
		       slot);
		return -EINVAL;
	}
	return 0;
}

static int refuse_overlap(const struct tf_region *r,
			  const struct tf_region *other, const char *where)
{
	tf_log(&r->engine->log, TF_LOG_WARNING,
	       "memslot %u refused: it overlaps memslot %u of %s in %s memory; "
	       "delete that one first",
	       r->slot, other->slot, other->guest->name, where);
	return -EINVAL;
}

/* Caller holds the lock. */
static int slot_conflicts(const struct tf_region *r)
{
	uint64_t end = r->gpa + (uint64_t)(r->end - r->start);
	const struct tf_region *other;

	tf_list_for_each(other, &r->guest->regions, link) {
		uint64_t size = (uint64_t)(other->end - other->start);

		if (other->slot == r->slot) {
			tf_log(&r->engine->log, TF_LOG_WARNING,
			       "memslot %u refused: the number is taken; delete "
			       "that memslot first",
			       r->slot);
			return -EEXIST;
		}
		if (r->gpa < other->gpa + size && other->gpa < end)
			return refuse_overlap(r, other, "guest");
	}
	other = tf_region_at(r->engine, r->start);
	if (!other)
		other = tf_region_above(r->engine, r->start);
	if (other && other->start < r->end)
		return refuse_overlap(r, other, "host");
	return 0;
}

static int memory_check(struct tf_engine *e, const struct tf_region *r)
{
	if (!e->can_merge)
		return 0;
	if (tf_future_is_locked(e)) {
		tf_log(&e->log, TF_LOG_WARNING,
		       "memslot refused: mlockall(MCL_FUTURE) is in force and "
		       "would undo sharing at once; use munlockall()");
		return -EOPNOTSUPP;
	}
	if (!e->forks.events && !r->attrs.dontfork) {
		tf_log(&e->log, TF_LOG_WARNING,
		       "memslot refused: a forked child would inherit it and "
		       "this process may not ask for fork events; set "
		       "MADV_DONTFORK on it or grant CAP_SYS_PTRACE");
		return -EOPNOTSUPP;
	}
	return 0;
}

static void region_free(struct tf_region *r)
{
	tf_frames_fini(r);
	tf_spare_fini(r);
	if (r->store)
		tf_store_put(r->store);
	free(r);
}

/* Everything of a new region that needs the lock. */
static int region_attach(struct tf_guest *g, struct tf_region *r)
{
	struct tf_engine *e = g->engine;
	size_t bytes = (size_t)(r->end - r->start);
	int err = slot_conflicts(r); /* the lock was dropped */

	if (!err)
		err = tf_store_get(e, g->domain ? g->domain : "",
				   g->domain ? NULL : g, &r->attrs, &r->store);
	if (!err)
		err = tf_frames_init(r);
	if (!err)
		err = tf_leftover_prepare(r);
	if (!err)
		err = tf_region_insert(e, r);
	if (err)
		return err;
	if (e->can_merge)
		err = e->os->uffd_register(e->os, e->uffd_guest, r->start,
					   bytes, TF_REG_WP);
	if (err) {
		tf_region_remove(e, r);
		tf_log(&e->log, TF_LOG_WARNING,
		       "memslot %u refused: its memory cannot be watched "
		       "(error %d); is it registered with another userfaultfd?",
		       r->slot, -err);
		return err == -EBUSY || err == -EINVAL ? -EOPNOTSUPP : err;
	}
	tf_leftover_adopt(r);
	r->linear = g->linear_next;
	g->linear_next += (uint64_t)tf_region_blocks(r) << TF_BLOCK_SHIFT;
	tf_list_append(&g->regions, &r->link);
	tf_budget_refresh(e, true);
	return 0;
}

int tf_guest_add_memslot(struct tf_guest *g, uint32_t slot, uint64_t gpa,
			 void *hva, size_t bytes)
{
	struct tf_engine *e = g->engine;
	struct tf_region *r;
	int err = slot_check(g, slot, gpa, hva, bytes);

	if (err)
		return err;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->guest = g;
	r->engine = e;
	r->slot = slot;
	r->gpa = gpa;
	r->start = hva;
	r->end = r->start + bytes;
	r->origin = (char *)((uintptr_t)hva & ~(TF_BLOCK_BYTES - 1));
	pthread_mutex_lock(&e->lock);
	tf_leftover_look(g);
	err = slot_conflicts(r);
	pthread_mutex_unlock(&e->lock);
	if (!err)
		err = tf_attrs_read(e->os, &e->log, r->start, bytes,
				    tf_leftover_is, g, &r->attrs);
	if (!err)
		err = memory_check(e, r);
	pthread_mutex_lock(&e->lock);
	if (!err)
		err = region_attach(g, r);
	tf_leftover_look_end(g);
	if (err)
		region_free(r);
	pthread_mutex_unlock(&e->lock);
	return err;
}

/* Every frame leaves the tables; those still mapped to a slot keep it alive. */
static void frames_leave(struct tf_block *b)
{
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++) {
		if (b->frames[i].state == TF_FRAME_SHARED)
			tf_book_cow(b, i);
		if (b->frames[i].state == TF_FRAME_COW) {
			/* The span stays: the mapping may outlive us. */
			tf_leftover_note(b, i);
			b->region->engine->n.cow--;
			b->region->cow--;
		} else {
			tf_book_leave(b, i);
		}
		b->frames[i].state = TF_FRAME_NONE;
	}
}

/* No pass may enter, and none is inside any more. Caller holds the lock. */
static void region_drain(struct tf_engine *e, struct tf_region *r)
{
	__atomic_store_n(&r->dying, true, __ATOMIC_RELEASE);
	while (r->users)
		pthread_cond_wait(&e->left, &e->lock);
}

static void log_kept(const struct tf_region *r, int err)
{
	const struct tf_logger *log = &r->engine->log;

	if (err == -EHWPOISON)
		tf_log(log, TF_LOG_WARNING,
		       "memslot %u of %s: pages of it are lost, touching them "
		       "raises SIGBUS",
		       r->slot, r->guest->name);
	else if (err)
		tf_log(log, TF_LOG_WARNING,
		       "memslot %u of %s: no memory to give all pages back; "
		       "they stay copy-on-write",
		       r->slot, r->guest->name);
}

static void region_break_all(struct tf_engine *e, struct tf_region *r)
{
	bool alone = !pthread_mutex_trylock(&e->pass_lock);
	struct tf_block *b;

	for (uint64_t no = 0; (b = tf_block_next(r, no)); no = b->no + 1ul) {
		tf_scatter_take_back(b);
		log_kept(r, tf_part_range(b, 0, TF_BLOCK_PAGES));
		if (alone)
			tf_gather_block(b, false);
		tf_stop_point(e);
	}
	if (alone)
		pthread_mutex_unlock(&e->pass_lock);
}

/* Caller holds the lock; the region is not in use and will not be. */
static void region_detach(struct tf_engine *e, struct tf_region *r)
{
	size_t bytes = (size_t)(r->end - r->start);
	struct tf_block *b;

	for (uint64_t no = 0; (b = tf_block_next(r, no)); no = b->no + 1ul)
		frames_leave(b);
	if (e->can_merge) {
		e->os->uffd_unregister(e->os, e->uffd_guest, r->start, bytes);
		e->os->uffd_wake(e->os, e->uffd_guest, r->start, bytes);
	}
	tf_region_remove(e, r);
	tf_list_remove(&r->link);
	region_free(r);
}

static struct tf_region *region_of_slot(struct tf_guest *g, uint32_t slot)
{
	struct tf_region *r;

	tf_list_for_each(r, &g->regions, link)
		if (r->slot == slot && !r->dying)
			return r;
	return NULL;
}

void tf_memslot_remove(struct tf_region *r)
{
	struct tf_engine *e = r->engine;

	region_drain(e, r);
	region_break_all(e, r);
	region_detach(e, r);
}

int tf_guest_del_memslot(struct tf_guest *g, uint32_t slot)
{
	struct tf_region *r;
	TF_LOCKED(&g->engine->lock);

	r = region_of_slot(g, slot);
	if (!r)
		return -ENOENT;
	tf_memslot_remove(r);
	return 0;
}

/* Frames [from, to) of one block, all in the same context: let go of them. */
static void release_run(struct tf_engine *e, char *from, char *to, bool merged)
{
	const struct tf_os *os = e->os;
	int uffd = merged ? e->uffd_merged : e->uffd_guest;

	if (from == to)
		return;
	os->uffd_unregister(os, uffd, from, (size_t)(to - from));
	os->uffd_wake(os, uffd, from, (size_t)(to - from));
}

static bool is_merged(const struct tf_block *b, unsigned page)
{
	return b->frames[page].state == TF_FRAME_SHARED;
}

static void release_block(struct tf_engine *e, const struct tf_block *b)
{
	char *from = tf_region_block_start(b->region, b->no);
	char *end = tf_region_block_end(b->region, b->no);

	while (from < end) {
		unsigned page = tf_region_page_of(b->region, from);
		char *to = from + TF_PAGE;

		while (to < end &&
		       is_merged(b, tf_region_page_of(b->region, to)) ==
			       is_merged(b, page))
			to += TF_PAGE;
		release_run(e, from, to, is_merged(b, page));
		from = to;
	}
}

void tf_memslot_abandon(struct tf_region *r)
{
	struct tf_engine *e = r->engine;
	char *from = r->start;
	struct tf_block *b;

	/*
	 * Closing the contexts would do the same, but not while a forked
	 * child holds their descriptors.
	 */
	for (uint64_t no = 0; e->can_merge && (b = tf_block_next(r, no));
	     no = b->no + 1ul) {
		release_run(e, from, tf_region_block_start(r, b->no), false);
		tf_scatter_take_back(b);
		release_block(e, b);
		from = tf_region_block_end(r, b->no);
	}
	if (e->can_merge)
		release_run(e, from, r->end, false);
	tf_list_remove(&r->link);
	region_free(r);
}
