/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twinfold/engine.h - fold identical guest pages into one.
 *
 * Everything here follows four rules:
 *
 *  - Errors are negative errno values; 0 is success. Parameters named `ret`
 *    come last and are untouched on failure.
 *  - Every struct starts with `size_t size`, set by the caller to sizeof the
 *    struct it was compiled with. Fields beyond `size` read as their default.
 *  - Sizes are bytes, addresses are guest physical (gpa) or host virtual
 *    (hva), and both must be multiples of 4096 (TF_PAGE_SIZE).
 *  - Every function may be called from any thread unless it says otherwise.
 *    None may be called from a signal handler, and none may be called while
 *    the caller holds a lock that a thread touching guest memory waits for.
 *
 * Page sharing changes where a guest's bytes are kept, never what they are.
 * Two things are asked of the embedder in return: delete a memslot before its
 * memory is unmapped or remapped, and send discards through
 * tf_guest_discard().
 */
#ifndef TWINFOLD_ENGINE_H
#define TWINFOLD_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "twinfold/log.h"
#include "twinfold/stats.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TF_PAGE_SIZE 4096u

struct tf_engine;
struct tf_guest;

/* How the walker learns which pages were written since the last pass. */
enum tf_scan_mode {
	TF_SCAN_AUTO, /* TF_SCAN_DIRTY where the kernel can, else TF_SCAN_HASH */
	TF_SCAN_DIRTY, /* PAGEMAP_SCAN and asynchronous write protection (6.7) */
	TF_SCAN_HASH,  /* read pagemap in bulk, hash every page on every pass */
};

/* What happens to scattered pages when their share of the budget is spent. */
enum tf_scatter {
	TF_SCATTER_OWN, /* they wait until there are mappings again */
	/* Dense blocks of them are given to the kernel's KSM, which has to
	 * run. KSM knows no trust domains, and such pages cannot be healed.
	 * Scattered merges then get an eighth of the budget, not three
	 * quarters: what KSM merges too would be there twice. */
	TF_SCATTER_KSM,
};

/* What happens when memory of the engine itself is lost to a memory error. */
enum tf_policy {
	TF_POLICY_DEGRADE, /* stop merging, keep the guests running */
	TF_POLICY_ABORT, /* restore the default action and raise SIGBUS again */
};

/*
 * Start from tf_engine_opts_init(). Zero in a numeric field means its
 * default; the flags have no such second meaning.
 */
struct tf_engine_opts {
	size_t size;
	/* Frames that may share one stable copy, 2 to 4096. KSM's name and
	 * default: 256. */
	unsigned max_page_sharing;
	/* Nonzero: zero pages become the kernel's zero page. Default 1. */
	int use_zero_pages;
	/* Nonzero: blocks whose pages stay settled are looked at less and
	 * less often, and frames that broke soon, or are written whenever they
	 * have settled, wait longer. Default 1. */
	int smart_scan;
	/* Nonzero: pages on different NUMA nodes may share. Default 1. */
	int merge_across_nodes;
	/* Mappings (VMAs) that merging may add to this process. 0: what
	 * vm.max_map_count leaves, less a reserve for healing. Pages that
	 * stand alone may take three quarters of it, short runs seven
	 * eighths. */
	size_t vma_budget;
	/* Stable copies kept of a content with copy_sharers sharers or more,
	 * 1 or 2, so that it can be healed. Default 1. */
	unsigned min_copies;
	enum tf_scan_mode scan_mode;
	/* See tf_ras_handle(). */
	enum tf_policy unrecoverable_policy;
	/* Called for every log line, or NULL. See twinfold/log.h. */
	tf_log_fn *log;
	void *log_user;
	enum tf_scatter scatter;
	unsigned copy_sharers; /* see min_copies; default 8 */
	/* Nonzero: settled unique pages in a small gap between two new shared
	 * ones are kept in the store too, where that saves more in mappings
	 * than their breaks will cost. Default 1. */
	int bridge_gaps;
};

struct tf_guest_opts {
	size_t size;
	/* Shown in logs and statistics; copied. NULL: "guest". */
	const char *name;
	/* Guests of one engine with equal trust domains share pages; copied.
	 * NULL: the guest shares with nobody but itself. */
	const char *trust_domain;
	/* Nonzero: every device I/O into guest RAM is bracketed by
	 * tf_guest_pin() and tf_guest_unpin(). Then pages that the kernel has
	 * copied by itself (tf_stats.pages_cow) can be un-merged too. */
	int io_declared;
};

/* What one pass did. Counts are pages (TF_PAGE_SIZE). */
struct tf_pass {
	size_t size;
	uint64_t pages_scanned;  /* pages whose state the walker reported */
	uint64_t pages_hashed;   /* pages whose bytes were read */
	uint64_t pages_volatile; /* written since the pass before */
	uint64_t merged;         /* frames that became sharers */
	uint64_t zero_merged;    /* frames that became the zero page */
	uint64_t promoted;       /* new stable copies */
	uint64_t busy;           /* refused for now: pinned, forked, racing */
	uint64_t changed;        /* written between hash and fence */
	uint64_t ns;             /* wall time */
	int complete;            /* 0: not everything was passed over */
	uint64_t bridged; /* unique pages that became bridges (bridge_gaps) */
};

/* Fill `opts` with the defaults, including opts->size. */
void tf_engine_opts_init(struct tf_engine_opts *opts);

/*
 * Create an engine. `opts` NULL means defaults; it is read, not kept.
 * Starts up to three threads: the resolver, which answers guests' writes to
 * shared pages, one that hears of forked children, and one that reads the
 * events of moved mappings. The caller owns the engine
 * and ends it with tf_engine_destroy(). mlockall() undoes the sharing of all
 * memory that there is: every shared page is broken. Locked memory does not
 * merge; munlockall() lets it. While MCL_FUTURE is in force, from 0.1 s on,
 * passes merge nothing at all: the log and tf_stats.can_merge say so.
 *
 * EINVAL: an option out of range (the log line names it).
 * ENOMEM, EMFILE: as the kernel says.
 * A kernel without userfaultfd or UFFDIO_MOVE is no error: such an engine
 * accepts memslots and merges nothing; the log and tf_stats say so.
 */
int tf_engine_create(const struct tf_engine_opts *opts, struct tf_engine **ret);

/*
 * End an engine, its guests and its threads. NULL is fine. Needs no memory.
 * Frames keep their bytes; pages that are still shared stay copy-on-write
 * mappings. No other call on this engine may be running or follow.
 */
void tf_engine_destroy(struct tf_engine *engine);

/*
 * Make a guest known. `opts` NULL means defaults; strings are copied. The
 * guest belongs to the engine; end it with tf_guest_destroy().
 * EINVAL, ENOMEM.
 */
int tf_guest_create(struct tf_engine *engine, const struct tf_guest_opts *opts,
		    struct tf_guest **ret);

/*
 * Forget a guest: every memslot is deleted as by tf_guest_del_memslot().
 * NULL is fine. Waits for a pass to leave the guest's memory.
 */
void tf_guest_destroy(struct tf_guest *guest);

/*
 * Register guest RAM: `bytes` at host address `hva`, seen by the guest at
 * `gpa`, under KVM's slot number. Cost does not depend on `bytes`.
 *
 * EINVAL: not page aligned, empty, wraps around, or overlaps a memslot of
 *   this engine in host memory or of this guest in guest memory.
 * EEXIST: the slot number is taken.
 * ENOMEM: part of the range is not mapped, or no memory.
 * EOPNOTSUPP: memory that cannot be merged: shared, hugetlb, PFN-mapped,
 *   locked, file-backed, read-only or wiped on fork. The log line says which
 *   and what to do.
 */
int tf_guest_add_memslot(struct tf_guest *guest, uint32_t slot, uint64_t gpa,
			 void *hva, size_t bytes);

/*
 * Forget guest RAM. Call it before the memory is unmapped. Shared frames get
 * their own copy again; if there is no memory for that, or the kernel has
 * copied a page by itself (tf_stats.pages_cow) and a device may hold it (see
 * io_declared), they stay copy-on-write mappings. Registered again by this
 * guest, the same memory is known, if any page of it is not so mapped; any
 * other guest's is refused. Waits for a pass to leave the memslot. May run
 * during a pass. ENOENT: no such slot.
 */
int tf_guest_del_memslot(struct tf_guest *guest, uint32_t slot);

/*
 * One full pass over every guest, in the caller's thread. Passes exclude
 * each other; a second caller waits. A page is merged at the earliest in the
 * second pass that finds it unchanged. `ret` may be NULL.
 * tf_engine_stop() ends background passes only, not this one. -errno: as the
 * kernel says of a memslot; the others were passed over all the same.
 * ECANCELED: see tf_engine_cancel().
 */
int tf_engine_pass(struct tf_engine *engine, struct tf_pass *ret);

/*
 * End the pass that is under way, whoever makes it, at its next stop point
 * (milliseconds). When this returns there is none; passes that begin later are
 * not affected. From any thread that is not in a pass itself.
 */
int tf_engine_cancel(struct tf_engine *engine);

/*
 * Start and stop background scanning in a thread of the engine. Starting
 * twice is EALREADY; stopping a stopped engine is 0. Stopping waits for the
 * current stop point (milliseconds), not for the pass.
 */
int tf_engine_start(struct tf_engine *engine);
int tf_engine_stop(struct tf_engine *engine);

/*
 * Give every shared frame in the range its own copy again. The range may
 * span memslots and holes; cost follows the number of merged frames.
 * EINVAL: unaligned or wrapping. ENOMEM: some frames are still shared; their
 * bytes are intact and the call may be repeated. EHWPOISON: a page is lost
 * and nothing heals it (twinfold/ras.h); all others are done.
 */
int tf_guest_unmerge(struct tf_guest *guest, uint64_t gpa, size_t bytes);

/*
 * The guest gave these pages up (balloon, free page reporting): they read as
 * zeros from now on, as after madvise(MADV_DONTNEED).
 * EINVAL; ENOENT: not wholly inside memslots; EBUSY: a page is pinned, and
 * nothing was discarded.
 */
int tf_guest_discard(struct tf_guest *guest, uint64_t gpa, size_t bytes);

/*
 * Bracket device I/O into guest RAM. After tf_guest_pin() returns, the pages
 * are private, stay where they are, and are not merged until a
 * tf_guest_unpin() of exactly the same range. Pins nest.
 * EINVAL; ENOENT: not wholly inside memslots (pin), or no such pin (unpin);
 * ENOMEM, EHWPOISON (a page is lost): nothing was pinned.
 */
int tf_guest_pin(struct tf_guest *guest, uint64_t gpa, size_t bytes);
int tf_guest_unpin(struct tf_guest *guest, uint64_t gpa, size_t bytes);

/*
 * Read the counters. `ret->size` must be set. Cheap; does not wait for a
 * pass. EINVAL: a size this library never had.
 */
int tf_engine_stats(struct tf_engine *engine, struct tf_stats *ret);

/* As tf_engine_stats(), the per-guest counters of one guest. */
int tf_guest_stats(struct tf_guest *guest, struct tf_guest_stats *ret);

#ifdef __cplusplus
}
#endif
#endif
