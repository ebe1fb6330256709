/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The candidate table: settled frames without a twin, by hash; KSM's unstable
 * tree. Its links live in the frame entries, so a candidate costs one bucket
 * word. It holds 48 bits of each hash: a hit is a proposal.
 */
#ifndef TF_ENGINE_CANDIDATES_H
#define TF_ENGINE_CANDIDATES_H

#include <stdint.h>

#include "engine/frame.h"
#include "engine/store.h"

/*
 * Make a NEW frame a candidate. -ENOMEM: it stays NEW and no longer waits;
 * its next write brings it back. Caller holds the lock, as for all here.
 */
int tf_candidate_add(struct tf_block *b, unsigned page, uint64_t hash);

/* Take a CANDIDATE frame out; its entry is still to be reset. */
void tf_candidate_remove(struct tf_block *b, unsigned page);

/* A candidate with this hash, as a frame reference, or 0. */
uint32_t tf_candidate_find(const struct tf_store *s, uint64_t hash);

/*
 * Bring nearer what finding or removing this hash will read: its bucket (step
 * 0), the bucket's first frame (1), its second (2). Each step reads what the
 * one before brought, so take one step for many hashes before the next. Only
 * a hint; 32 bits of the hash will do.
 */
void tf_candidate_prefetch(const struct tf_store *s, uint32_t hash,
			   unsigned step);

#define TF_CANDIDATE_STEPS 3u

#endif
