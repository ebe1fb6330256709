/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of ras/ share.
 *
 *   handle.c    SIGBUS path: posts a request, waits for the verdict
 *   signal.c    the process's handler, and whom it asks
 *   install.c   the life of an engine's ras
 *   quick.c     what the thread that was hit can heal by itself
 *   healer.c    the thread that answers requests
 *   classify.c  what an address is
 *   owned.c     what is the engine's own memory
 *   heal.c      gives the sharers of a lost dup another one
 *   recall.c    finds those that are in no list
 *   vmce.c      machine checks that wait for their guests
 *   inject.c    faults on purpose
 *
 * The healer takes the engine's lock and calls no callback while somebody waits
 * for it: who waits sits in a signal handler and may hold any lock of the
 * embedder's. The allocator's is not among them: nobody touches guest memory
 * inside it, and a thread that was only told of an error does not wait long.
 */
#ifndef TF_RAS_INTERNAL_H
#define TF_RAS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/state.h"
#include "twinfold/ras.h"

#define RAS_REQUESTS 128u
#define RAS_VMCES 8192u

/* Code of a signal that the kernel sends for an error nobody has consumed. */
#define MCEERR_AO 5

enum request_state {
	REQUEST_FREE,
	REQUEST_TAKEN,     /* being filled in */
	REQUEST_POSTED,    /* the healer's */
	REQUEST_DONE,      /* the waiter's again */
	REQUEST_ABANDONED, /* nobody waits: the healer frees it */
};

/* What the healer does with a request that nobody waits for any more. */
enum ras_rest {
	RAS_REST_ALL,     /* find out what was hit, and heal it */
	RAS_REST_SHARERS, /* the thread healed itself: the others of `dup` */
	RAS_REST_SAY,     /* nothing but the event */
	RAS_REST_NOTHING, /* not even that */
};

struct ras_request {
	_Atomic uint32_t state; /* enum request_state; a futex */
	enum ras_rest rest;
	uint32_t dup;    /* that is lost, and held for the healer, or 0 */
	uint32_t donor;  /* held as well: who has its bytes */
	uint32_t fresh;  /* held as well: a copy of them, perhaps lost, or 0 */
	uintptr_t addr;  /* of the page */
	const void *hit; /* as the signal had it */
	pid_t tid;
	bool required; /* the thread cannot go on without an answer */
	bool again;    /* it was told once, and came back to the same page */
	bool engine;   /* nobody's signal: the engine has found it */
	uint64_t begin_ns;
	int err;
	struct tf_ras_verdict verdict;
};

struct tf_ras {
	struct tf_engine *engine;
	int vmce_eventfd;
	tf_ras_event_fn *event;
	void *event_user;

	struct ras_request request[RAS_REQUESTS];
	_Atomic uint32_t posted; /* counts posts; a futex */
	int wake;                /* eventfd: the healer has work, now */
	int later;               /* timer: the same, but nobody waits */
	_Atomic uint32_t users;  /* handlers that are inside */
	_Atomic uint64_t timeouts, unrecoverable;
	atomic_bool stop;
	pthread_t healer;

	char page[TF_PAGE]; /* to read into; under the engine's lock */

	pthread_mutex_t vmce_lock;
	struct tf_vmce vmce[RAS_VMCES]; /* under vmce_lock, oldest first */
	unsigned nvmces;                /* likewise */
};

/* handle.c. Signal-safe. As tf_ras_handle(), by one that entered. */
int ras_judge(struct tf_ras *ras, const siginfo_t *info,
	      struct tf_ras_verdict *ret);
/* Say that an address is lost, and go on. */
void ras_note(struct tf_ras *ras, const void *addr);
/* Say so, and wait until it was dealt with. Caller holds no lock. */
void ras_wait_for(struct tf_ras *ras, const void *addr);

/* signal.c: the engine's, or NULL. A caller that got one is counted. */
struct tf_ras *ras_enter(struct tf_engine *e);
void ras_leave(struct tf_ras *ras);
/* Caller holds install_lock. The handler is there until all who got it have
 * put it; it asks the engines of the list (-ENOSPC). */
int ras_signal_get(void);
void ras_signal_put(void);
int ras_signal_list(struct tf_engine *e);
void ras_signal_unlist(const struct tf_engine *e);
/* Of an engine that has left the list: until no handler is inside any more. */
void ras_signal_drain(const struct tf_ras *ras);

/* healer.c */
/* Is this thread healing? What it reads, and cannot, is not news. */
extern __thread bool ras_healing __attribute__((tls_model("initial-exec")));
/* Is this an error that nobody has consumed, in a healer's thread? Nobody but
 * the healer has asked to be told of it. */
bool ras_is_early(const siginfo_t *info);
int ras_healer_start(struct tf_ras *ras);
void ras_healer_stop(struct tf_ras *ras);

/* quick.c: signal-safe. */
/* Does this thread hold the engine's lock? */
bool ras_lock_is_mine(struct tf_engine *e);
/* False: the healer has to answer. Else the request has its answer, and its
 * `rest` says what is left to do. */
bool ras_quick(struct tf_ras *ras, struct ras_request *q);
/* The other sharers are healed. Caller holds the engine's lock. */
void ras_quick_let_go(struct tf_engine *e, const struct ras_request *q);

/* owned.c */
/* Certain: memory of the engine that nothing heals. Lock-free, signal-safe. */
bool ras_is_engine_owned(const struct tf_engine *e, const void *addr);
/* The same of the stable index and the stores. Caller holds the lock. */
bool ras_index_owns(const struct tf_engine *e, const void *addr);
/* The store that maps `addr`, or NULL. Caller holds the lock. */
struct tf_store *ras_store_at(struct tf_engine *e, const void *addr);
/* Count it, and merge no more. -ENOTRECOVERABLE. */
int ras_own_memory_lost(struct tf_ras *ras);

/* classify.c */
void ras_say(struct ras_request *q, enum tf_ras_class cls,
	     enum tf_ras_source source);
/* In the guest's words. */
void ras_say_where(struct ras_request *q, const struct tf_region *r);
/* Does whoever touches it again find a page there? */
bool ras_is_mended(const struct tf_engine *e, const char *addr);
/* Find out what was hit, heal it, and answer the request; what was answered
 * goes to *told. Caller holds the engine's lock. */
void ras_answer(struct tf_ras *ras, struct ras_request *q,
		struct tf_ras_verdict *told);

/* heal.c: called with the engine's lock, which is dropped now and then. */
struct ras_heal {
	uint32_t dup;   /* that is lost */
	uint32_t first; /* frame reference to be healed first, or 0 */
	uint32_t fresh; /* copy of the content, made already, or 0 */
	struct ras_request *asker; /* told as soon as `first` is healed; then
				    * NULL: it is not ours any more */
	enum tf_ras_source source; /* out */
	bool moved;                /* out: `first` has a healthy page */
};
/* False: `first`, or any sharer if there is no first, has lost its page and
 * was told. */
bool ras_heal_dup(struct tf_ras *ras, struct ras_heal *heal);
/* Keep a dup and its store from being freed, by whoever. */
void ras_hold(struct tf_engine *e, uint32_t dup);
void ras_let_go(struct tf_engine *e, uint32_t dup);

/* recall.c: called as those of heal.c. */
/* A frame that the kernel would copy on write shares its dup again. */
void ras_rejoin(struct tf_block *b, unsigned page);
/* So do all that lost their page with this dup, if there is a copy to heal
 * from. */
void ras_recall(struct tf_engine *e, uint32_t dup);

/* Once for a lost dup, whoever heals its sharers, and however often. `fresh`:
 * 0 if they go to dups that were there. */
void ras_count_heal(struct tf_engine *e, uint32_t lost, uint32_t fresh);

/* vmce.c: at most one is pending for a page; a required one stays required. */
void ras_vmce_post(struct tf_ras *ras, struct tf_guest *guest, uint64_t gpa,
		   bool required, pid_t tid);
/* A guest is going away. */
void ras_vmce_forget(struct tf_ras *ras, const struct tf_guest *guest);

/* Answer a request: the waiter goes on, the request is not ours any more. */
void ras_request_done(struct tf_ras *ras, struct ras_request *q);

#endif
