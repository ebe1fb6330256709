/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stable store: immutable copies of page contents in one sparse memfd.
 * There is one store for each trust domain and memory policy.
 *
 * Offsets are handed out in rising order, so that pages promoted one after
 * the other lie side by side and their mappings join. A slot that died is
 * punched and its offset is not used again as long as any slot of its window
 * (64 MiB) may still be mapped anywhere: a stale mapping can only ever show
 * zeros, never another guest's page.
 */
#ifndef TF_ENGINE_STORE_H
#define TF_ENGINE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/attrs.h"
#include "engine/base/list.h"
#include "engine/nodes.h"
#include "engine/os.h"

struct tf_engine;

/* 2^14 slots of 4 KiB are 64 MiB; 2^16 windows are 4 TiB of offsets. */
#define TF_WINDOW_SHIFT 14
#define TF_WINDOW_SLOTS (1u << TF_WINDOW_SHIFT)
#define TF_WINDOW_BYTES ((uint64_t)TF_WINDOW_SLOTS * TF_PAGE)
#define TF_STORE_WINDOWS (1u << 16)

struct tf_window {
	uint32_t *dup_of; /* slot -> dup, NULL while the window is unused */
	uint32_t live;    /* slots of it handed out and not punched since */
	uint32_t used;    /* slots of it handed out */
};

/* Hash table whose links live in the records; see candidates.c, chain.c. */
struct tf_buckets {
	uint32_t *head;
	uint32_t mask; /* buckets - 1, or 0 while there is no table */
	uint32_t count;
};

struct tf_store {
	struct tf_list link; /* engine->stores */
	struct tf_engine *engine;
	unsigned regions;  /* that refer to it */
	char *domain;      /* its trust domain; two guests' own never match */
	const void *owner; /* the one guest of an unnamed domain, or NULL */
	struct tf_attrs attrs; /* for the policy */

	bool local; /* no other process maps it: it may hold unique pages */

	int fd;
	const char *map; /* all of it, read-only */
	struct tf_window *windows;
	uint32_t nwindows; /* that are mapped, at most TF_STORE_WINDOWS */
	uint32_t window;   /* the one that slots come from, or nwindows: none */
	unsigned node;     /* `window` is for pages of this one */
	uint32_t others[TF_NODES + 1]; /* the same for the other nodes */
	uint32_t opened; /* windows below were used at some time */
	uint32_t *dead;  /* slots to be punched */
	uint32_t ndead, cap_dead;

	uint8_t secret[TF_SECRET_BYTES];
	uint64_t zero_hash;
	struct tf_buckets stable;     /* hash -> head dup of its chain */
	struct tf_buckets candidates; /* hash -> frames */
};

/*
 * The store for a region with these attributes in this domain, created if
 * there is none; the caller owns one reference. Caller holds the lock.
 * `owner` names the guest if the domain is its own. -ENOMEM, -EMFILE ...
 */
int tf_store_get(struct tf_engine *e, const char *domain, const void *owner,
		 const struct tf_attrs *attrs, struct tf_store **ret);
void tf_store_put(struct tf_store *s);

/* New slots are for pages of this node, or TF_NODE_ANY, from here on. */
void tf_store_use_node(struct tf_store *s, unsigned node);

/* A new slot, next to the last one where possible. -ENOSPC, -ENOMEM. */
int tf_slot_alloc(struct tf_store *s, uint32_t *ret);

/* The slot that comes next, if no other window is begun for it. */
uint32_t tf_slot_next(const struct tf_store *s);

/* Would that take no memory? Would giving one back take and free none? */
bool tf_slot_at_hand(const struct tf_store *s);
bool tf_slot_may_go(const struct tf_store *s);

/* Bind a written slot to its dup; from now on it must be freed. */
void tf_slot_bind(struct tf_store *s, uint32_t slot, uint32_t dup);

/* A slot that was allocated, perhaps written, and got no dup. */
void tf_slot_abandon(struct tf_store *s, uint32_t slot);

/* No frame maps it any more. It is punched by the next flush. */
void tf_slot_free(struct tf_store *s, uint32_t slot);

/* Its page is lost: never punched, never used again. */
void tf_slot_quarantine(struct tf_store *s, uint32_t slot);

/*
 * Punch what was freed. Does nothing while a forked child may still read old
 * slots. Caller holds the lock.
 */
void tf_store_flush(struct tf_store *s);

/* The dup that a slot belongs to, or 0. */
static inline uint32_t tf_slot_dup(const struct tf_store *s, uint32_t slot)
{
	const struct tf_window *w = &s->windows[slot >> TF_WINDOW_SHIFT];

	return w->dup_of ? w->dup_of[slot & (TF_WINDOW_SLOTS - 1)] : 0;
}

static inline const char *tf_slot_bytes(const struct tf_store *s, uint32_t slot)
{
	return s->map + (uint64_t)slot * TF_PAGE;
}

/* Between store.c and slots.c: a store is opened. -ENOMEM. */
int tf_slots_init(struct tf_store *s);

/* Bytes of memory the store's own tables hold. */
size_t tf_store_bytes(const struct tf_store *s);

#endif
