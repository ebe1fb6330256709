/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine and its guests.
 *
 * Locks (docs/locking.md has the whole story):
 *   pass_lock  one pass at a time; taken before `lock`
 *   lock       everything below that says so; held for one fence at most
 * A thread that holds `lock` never touches guest memory, because a fault in
 * guest memory may need the resolver, and the resolver needs `lock`.
 */
#ifndef TF_ENGINE_STATE_H
#define TF_ENGINE_STATE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/idtable.h"
#include "engine/base/list.h"
#include "engine/base/log.h"
#include "engine/forks.h"
#include "engine/gather.h"
#include "engine/os.h"
#include "engine/profit.h"
#include "engine/region.h"
#include "twinfold/engine.h"

struct tf_store;
struct tf_ras;
struct tf_leftover;

/* Guest pages that are pinned for I/O. Pins nest, so ranges may repeat. */
struct tf_pin {
	uint64_t gpa, bytes;
};

struct tf_guest {
	struct tf_list link; /* engine->guests */
	struct tf_engine *engine;
	char *name;
	char *domain;
	bool io_declared;

	/* Protected by engine->lock. */
	struct tf_list regions;
	uint64_t linear_next; /* first linear index not given away */
	struct tf_pin *pins;
	size_t npins, cap_pins;
	struct tf_leftover *left;
	size_t nleft, cap_left;
	bool left_mixed;  /* not in the order of addresses */
	unsigned looking; /* memslots that are being added */
	uint64_t breaks;
	struct tf_bridges bridges;
};

/* Stop points let a waiting resolver go first. */
struct tf_worker {
	pthread_t thread;
	bool running;     /* protected by engine->lock */
	atomic_bool stop; /* read at every stop point */
	int wake;         /* eventfd: ends a nap early */
};

struct tf_resolver {
	pthread_t thread;
	bool running;
	int quit; /* eventfd */
};

/* Numbers that tf_engine_stats() reports as they are. Under engine->lock. */
struct tf_counts {
	uint64_t pending;     /* frames waiting to be settled */
	uint64_t sharers;     /* frames SHARED */
	uint64_t dups;        /* stable copies */
	uint64_t used;        /* of those, with sharers, and no bridges */
	uint64_t bridged;     /* of those, bridges with their sharer */
	uint64_t kept;        /* of those, for others that are lost */
	uint64_t chains;      /* contents that have a dup */
	uint64_t candidates;  /* frames CANDIDATE */
	uint64_t recoverable; /* sharers whose content has a healthy twin */
	uint64_t sharer_room; /* entries of all lists of sharers */
	uint64_t zero;
	uint64_t cow;
	uint64_t vmas;
	uint64_t scanned, hashed, full_scans, breaks, breaks_ahead;
	uint64_t refused; /* frames that wait for mappings */
	uint64_t handed;  /* frames that are KSM's */
	uint64_t heals, heals_fresh_copy, heals_existing_dup, heals_other;
	uint64_t vmces, quarantined;
	uint64_t gathered, budget_refused, busy, changed;
};

struct tf_engine {
	const struct tf_os *os;
	struct tf_logger log;
	struct tf_engine_opts opts; /* complete: no zero means default here */

	/* Set at creation, then constant. */
	int uffd_guest; /* -1: this kernel cannot merge */
	int uffd_merged;
	int uffd_ours;
	int pagemap;
	uint64_t marker; /* of untouched protected pages, or 0 (marker.h) */
	uint64_t nodes;  /* NUMA nodes, a bit for each */
	bool can_merge;
	bool scan_dirty;
	bool split_nodes; /* NUMA nodes do not share */
	char *staging;    /* TF_STAGE_PAGES pages, nobody else's */
	const char *zero_page;

	pthread_mutex_t pass_lock;
	struct tf_batch *batch; /* protected by pass_lock */
	char *aside; /* a run of TF_DENSE_PAGES on its way, or NULL; atomic,
		      * written under pass_lock */
	uint32_t pass_no;    /* written under both locks */
	atomic_uint cancels; /* threads that wait for the pass's end */
	atomic_bool locked;  /* mlockall(): merging rests (locked.h) */
	uint64_t locked_ns;  /* when that was seen; under pass_lock */

	pthread_mutex_t lock;
	atomic_int urgent;   /* threads that wait for `lock` in a fault */
	pthread_cond_t left; /* a region's users fell to 0 */

	/* Protected by lock. */
	struct tf_list guests;
	struct tf_list stores;
	struct tf_region **regions; /* by address */
	size_t nregions, cap_regions;
	struct tf_idtable blocks; /* of struct tf_block * */
	struct tf_idtable dups;   /* of struct tf_dup */
	struct tf_counts n;
	uint32_t *list_at_hand; /* chain.h: tf_dup_prepare() */
	uint64_t vma_budget;
	uint64_t vma_checked_ns; /* when the budget was last computed */
	bool vma_unread;         /* it could not be, and that was said */
	bool lone_copies;        /* a second copy has gone (copy.h) */
	bool retry_refused;      /* in this pass: there is room again */
	bool ksm_runs;           /* and may be used */
	bool ksm_asked;

	struct tf_worker worker;
	struct tf_resolver resolver;
	struct tf_forks forks;
	struct tf_gather gather;

	/* ras/ plugs in here. The functions are protected by lock. */
	_Atomic(struct tf_ras *) ras;
	atomic_bool degraded; /* memory of ours is lost: no more merging */
	/* An address that the engine found unreadable. */
	void (*poison_found)(struct tf_engine *e, const void *addr);
	/* Wait until that was dealt with. Called with `lock`, dropped
	 * meanwhile. */
	void (*heal_lost)(struct tf_engine *e, const void *addr);
	void (*guest_gone)(struct tf_engine *e, const struct tf_guest *g);
	void (*ras_end)(struct tf_engine *e);
	void (*ras_stats)(struct tf_engine *e, struct tf_stats *ret);
};

/* Create with a kernel seam of one's own; tests use it. */
int tf_engine_create_os(const struct tf_engine_opts *opts,
			const struct tf_os *os, struct tf_engine **ret);

/* Drop the lock for whoever waits in a fault, and take it again. */
static inline void tf_stop_point(struct tf_engine *e)
{
	pthread_mutex_unlock(&e->lock);
	while (atomic_load(&e->urgent))
		sched_yield();
	pthread_mutex_lock(&e->lock);
}

/* Take the lock in a fault: the pass gives way at its next stop point. */
static inline void tf_lock_urgent(struct tf_engine *e)
{
	atomic_fetch_add(&e->urgent, 1);
	pthread_mutex_lock(&e->lock);
	atomic_fetch_sub(&e->urgent, 1);
}

#endif
