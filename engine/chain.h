/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dups and chains (chain.c), and who shares them (sharers.c). A dup is one
 * stable copy of a content and the frames that share it; a chain is all dups
 * of one content, found by hash. Chains are rings; the bucket points at the
 * head.
 *
 * INVARIANT: if any dup of a chain has room, the head has, so that a dup is
 * chosen in constant time.
 */
#ifndef TF_ENGINE_CHAIN_H
#define TF_ENGINE_CHAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/frame.h"
#include "engine/store.h"

/* Sharers that need no list of their own. */
#define TF_DUP_FEW 2u

/* With so many spans a dup is full: each of its sharers may become one more,
 * and `spans` has 14 bits. */
#define TF_DUP_SPANS 8192u

struct tf_dup {
	uint64_t hash;
	struct tf_store *store;
	union {
		uint32_t few[TF_DUP_FEW]; /* while `cap` is TF_DUP_FEW */
		uint32_t *list;           /* beyond that */
	};
	uint32_t slot;
	uint32_t next, prev; /* ring of the chain, by dup id */
	uint32_t bucket;     /* of a head: next head of the bucket */
	uint16_t nsharers;
	uint16_t cap;          /* sharers that there are entries for */
	uint16_t pending : 14; /* sharers that a fence is about to add */
	uint16_t kept : 1;     /* nobody uses it, but it is the last copy that
				* can be read of what others share */
	uint16_t bridge : 1;   /* bridge.h: its one sharer has no twin */
	uint16_t spans : 14;   /* COW frames whose mapping covers the slot, and
			      * whoever holds it */
	uint16_t bad : 1;      /* its page is lost: no donor, no sharer joins */
	uint16_t healed : 1;   /* and that was counted as a heal */
};

struct tf_dup *tf_dup_get(const struct tf_engine *e, uint32_t id);

/* The references of its sharers; they move when one is reserved. */
static inline const uint32_t *tf_dup_sharers(const struct tf_dup *d)
{
	return d->cap > TF_DUP_FEW ? d->list : d->few;
}

/* The head of the chain with this hash, or 0. */
uint32_t tf_chain_find(const struct tf_store *s, uint64_t hash);

/* A dup of the chain with this hash to compare with, one with room if there is
 * one, or 0. */
uint32_t tf_chain_pick(const struct tf_store *s, uint64_t hash);

/* Is there another dup of its content that is not lost? */
bool tf_dup_has_twin(const struct tf_engine *e, uint32_t id);

/* May another sharer be added? */
bool tf_dup_has_room(const struct tf_engine *e, const struct tf_dup *d);

/*
 * A dup for a slot that has been written, head of its chain. -ENOMEM.
 * It has no sharers yet: link one or retire it before the lock is dropped.
 */
int tf_dup_create(struct tf_store *s, uint64_t hash, uint32_t slot,
		  uint32_t *ret);

/*
 * Take a place for one more sharer (counted in `pending`), so that linking
 * cannot fail any more; give it back if the fence did not get there. -ENOMEM.
 */
int tf_dup_reserve(struct tf_engine *e, uint32_t id);
void tf_dup_unreserve(struct tf_engine *e, uint32_t id);

/*
 * Turn a reserved place into a sharer: the frame becomes SHARED. The frame
 * must be in no table.
 */
void tf_dup_link(struct tf_engine *e, uint32_t id, struct tf_block *b,
		 unsigned page);

/*
 * The frame leaves its dup; its entry is still to be reset. `spans`: its
 * mapping goes on covering the slot. Frees the dup with its last user.
 */
void tf_dup_unlink(struct tf_engine *e, struct tf_block *b, unsigned page,
		   bool spans);

/*
 * For signal handlers, which can neither ask for memory nor free any: keep a
 * list for the sharers of one more dup at hand (-ENOMEM); would a dup and a
 * slot of this store's take no memory, nor the slot's way back; the new dup
 * takes the list.
 */
int tf_dup_prepare(struct tf_engine *e);
bool tf_dup_at_hand(const struct tf_store *s);
void tf_dup_take_list(struct tf_engine *e, uint32_t id);

/* Its page is lost. Nobody joins it any more, and its slot is never used
 * again. Its sharers are to be moved. */
void tf_dup_condemn(struct tf_engine *e, uint32_t id);

/* Keep a dup from being freed, whoever leaves it. */
void tf_dup_hold(struct tf_engine *e, uint32_t id);
void tf_dup_let_go(struct tf_engine *e, uint32_t id);

/* Is this the hash of what its slot is to hold? */
bool tf_dup_has_hash(const struct tf_dup *d, uint64_t hash);

/* A COW frame's mapping no longer covers the slot of its dup. */
void tf_dup_unspan(struct tf_engine *e, uint32_t id);

/*
 * Free the dup and its slot if nothing uses it. The other dups of its chain
 * may be lost, and nobody has touched them yet: if none can be read, this one
 * is kept until they are healed.
 */
void tf_dup_retire(struct tf_engine *e, uint32_t id);

/* Free every dup of a store whose frames are all gone. */
void tf_chains_fini(struct tf_store *s);

/* Between chain.c and sharers.c: a dup's room changed; a dup goes. */
void tf_chain_adjust(struct tf_engine *e, uint32_t id);
void tf_dup_free_list(struct tf_engine *e, struct tf_dup *d);

#endif
