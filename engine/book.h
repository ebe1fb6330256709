/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Booking: what happened to mappings becomes what the tables say. Each
 * function leaves frame, dup and counters agreeing with each other.
 * Caller holds the engine's lock.
 */
#ifndef TF_ENGINE_BOOK_H
#define TF_ENGINE_BOOK_H

#include "engine/batch.h"

/* The legs of a fence that has just been opened. */
void tf_book_batch(struct tf_batch *batch);

/*
 * A SHARED frame whose protection does not stand, or which the kernel copied:
 * COW from now on, its mapping goes on covering the slot. Gives up the
 * protection and wakes writers.
 */
void tf_book_cow(struct tf_block *b, unsigned page);

/*
 * A frame leaves SHARED or COW because its mapping was replaced by private
 * memory in a mapping of its own (`foreign`) or by a hole. It is then as just
 * seen, or forgotten.
 */
void tf_book_private(struct tf_block *b, unsigned page, bool foreign);
void tf_book_hole(struct tf_block *b, unsigned page);

/* A write was seen: the frame leaves CANDIDATE or ZERO and waits again. */
void tf_book_written(struct tf_block *b, unsigned page);

/* A NEW frame that has become the kernel's zero page, by this pass. */
void tf_book_zero(struct tf_batch *batch, struct tf_block *b, unsigned page);

/* A frame leaves whatever table it is in; its entry is still to be reset. */
void tf_book_leave(struct tf_block *b, unsigned page);

#endif
