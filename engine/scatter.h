/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What to do with scattered pages once the VMA budget is spent: nothing, or
 * hand the blocks where they are dense to the kernel's KSM, which needs no
 * mapping for a page. KSM knows no trust domains: opt in only.
 */
#ifndef TF_ENGINE_SCATTER_H
#define TF_ENGINE_SCATTER_H

#include <stdbool.h>

#include "engine/frame.h"

struct tf_engine;

/* Once a pass: may KSM be used? Caller holds the lock. */
void tf_scatter_begin(struct tf_engine *e);

/* Is this block to be handed over? Caller holds the lock. */
bool tf_scatter_due(const struct tf_block *b);

/*
 * Hand a block over: its private pages are KSM's, are not walked and not
 * fenced any more. Its shared frames stay what they are. Caller holds the
 * lock.
 */
void tf_scatter_hand_over(struct tf_block *b);

/* Pages of a handed block that broke, or were discarded. */
void tf_scatter_adopt(struct tf_block *b, unsigned page, unsigned n);
void tf_scatter_lose(struct tf_block *b, unsigned page);

/* Take it back, pages private again. Best effort. Caller holds the lock. */
void tf_scatter_take_back(struct tf_block *b);

#endif
