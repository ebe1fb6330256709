/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leaving the shared state. Every function works under the write protection
 * of the merged context, so that no write of a guest can fall between the
 * copy and the mapping. Caller holds the engine's lock.
 */
#ifndef TF_ENGINE_BREAKS_H
#define TF_ENGINE_BREAKS_H

#include "engine/frame.h"

/* Runs longer than this are broken in parts, so that the lock is not held for
 * long and a spare pool always has room. */
#define TF_BREAK_RUN 64u

/*
 * Give `n` adjacent SHARED frames of one block their own pages, in one step,
 * and wake their writers. -ENOMEM, -EHWPOISON (a slot cannot be read): nothing
 * has changed, writers still wait.
 */
int tf_break(struct tf_block *b, unsigned page, unsigned n);

/*
 * A guest wrote to a shared frame. Always ends with the writer awake and the
 * write possible: where there is no memory for the engine's copy the kernel
 * makes its own (COW).
 */
void tf_break_fault(struct tf_block *b, unsigned page);

/*
 * Discard pages [from, to): they read as zeros. Merged ones get a hole, the
 * others are dropped. -ENOMEM: some are as before.
 */
int tf_discard_range(struct tf_block *b, unsigned from, unsigned to);

/*
 * Map another dup of the same chain, or a fresh one, under a SHARED frame;
 * its bytes do not change. A place in `dup` is reserved, and used or given
 * back. 0, or why the frame stays where it is.
 */
int tf_rehome(struct tf_block *b, unsigned page, uint32_t dup);

#endif
