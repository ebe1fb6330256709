/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settling: what a block's pages, as the walker reported them, are to be.
 */
#ifndef TF_ENGINE_SETTLE_H
#define TF_ENGINE_SETTLE_H

#include "engine/batch.h"

/*
 * Visit one block: written pages wait, pages that waited are hashed and find
 * their place. Caller holds pass_lock and has entered the region; not the
 * engine's lock.
 */
void tf_settle_block(struct tf_batch *batch, struct tf_block *b);

#endif
