/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bridges: settled pages without a twin that lie in a small gap between two
 * promoted ones. They are put into the store as well, so that the pages around
 * them and they are one mapping. A bridge is a dup with one sharer; it is
 * never counted as shared, and a twin makes an ordinary dup of it.
 *
 * Caller holds the engine's lock and pass_lock.
 */
#ifndef TF_ENGINE_BRIDGE_H
#define TF_ENGINE_BRIDGE_H

#include <stdbool.h>

#include "engine/batch.h"

/*
 * `page` is about to be promoted, in a slot behind those that the batch asks
 * for. If a few candidates separate it from such a page, and a bridge pays,
 * legs for them are added to the batch: as many as the return value says, at
 * most `room`.
 */
unsigned tf_bridge_plan(struct tf_batch *batch, struct tf_block *b,
			unsigned page, unsigned room);

/*
 * Is a staged page still what its candidate's hash says? 0, and the whole hash
 * in the leg; -EAGAIN, -EHWPOISON.
 */
int tf_bridge_judge(const struct tf_batch *batch, struct tf_leg *leg);

/* Slots are given out: undo bridges that do not reach from one side to the
 * other, with -ECANCELED. */
void tf_bridge_prune(struct tf_batch *batch);

/* A pass begins: what was learnt about guests' bridges fades. */
void tf_bridge_forget(struct tf_engine *e);

#endif
