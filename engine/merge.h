/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Planning merges: a settled page and its hash become a leg of the batch, or
 * a candidate. Caller holds the engine's lock and pass_lock.
 */
#ifndef TF_ENGINE_MERGE_H
#define TF_ENGINE_MERGE_H

#include "engine/batch.h"
#include "engine/profit.h"

/*
 * Find a place for a NEW frame whose page had this hash a moment ago, as part
 * of this run. May carry out the batch, and then drops and retakes the
 * engine's lock. True: the frame is to be mapped, so that the next one of the
 * run can join it.
 */
bool tf_merge_page(struct tf_batch *batch, struct tf_block *b, unsigned page,
		   uint64_t hash, const struct tf_run *run);

/* Add a leg to the batch, and what it costs. The caller has seen to it that
 * there is room. */
struct tf_leg *tf_merge_add(struct tf_batch *batch, struct tf_block *b,
			    unsigned page, uint64_t hash,
			    enum tf_leg_kind kind);

/*
 * Carry out what is planned. Drops and retakes the engine's lock, so that
 * whoever waits in a fault goes first.
 */
void tf_merge_flush(struct tf_batch *batch);

#endif
