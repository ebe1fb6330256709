/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Further copies of a content. Caller holds the engine's lock.
 */
#ifndef TF_ENGINE_COPY_H
#define TF_ENGINE_COPY_H

#include <stdbool.h>
#include <stdint.h>

struct tf_engine;

/* Are the bytes in this dup's slot readable, and the right ones? */
bool tf_dup_is_healthy(const struct tf_engine *e, uint32_t dup);

/* Do others share the content, and no other dup of it can be read? Says which
 * are lost. */
bool tf_copy_is_last(struct tf_engine *e, uint32_t dup);

/*
 * A new dup with the bytes of another one, or 0. It is read again: the copy
 * may be lost as well. It has no sharers yet: hold or link it.
 */
uint32_t tf_dup_copy(struct tf_engine *e, uint32_t donor);

/* The same, but it is not read: whether it is lost is yet to be seen. Where
 * tf_dup_at_hand() says so it takes no memory, and frees none. */
uint32_t tf_dup_copy_unread(struct tf_engine *e, uint32_t donor);

/*
 * See to it that a dup with enough sharers (copy_sharers) is not the only
 * copy of its content, if min_copies says so: a few of them get a second one.
 * Best effort. False: there was no copy to be made, or none could be.
 */
bool tf_copy_keep(struct tf_engine *e, uint32_t dup);

/* Shall what takes long end here? */
typedef bool tf_stop_fn(const void *arg);

/* The same for every content, if one has lost its second copy since: all its
 * sharers were written. Drops the lock after each. What `stop` ends is for the
 * next sweep. */
void tf_copy_sweep(struct tf_engine *e, tf_stop_fn *stop, const void *arg);

#endif
