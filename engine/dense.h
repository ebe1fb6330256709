/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many lone zero pages side by side with others. Moving each behind the fence
 * by itself interrupts every CPU that runs the guest, once a page; so the
 * whole run goes, zero or not, and comes back in one step with the zero
 * pages replaced.
 */
#ifndef TF_ENGINE_DENSE_H
#define TF_ENGINE_DENSE_H

#include "engine/batch.h"

/* Most pages of a run. */
#define TF_DENSE_PAGES 128u

/*
 * `zeros`: pages of the block that read as zeros a moment ago. Those that lie
 * densely become the kernel's zero page, the others are left as they are.
 * `moved` is set for each page that went along: it was protected anew, and a
 * write before that may be unseen, so its hash is to be taken again. Nothing
 * is planned in `batch`. Caller holds pass_lock and the engine's lock, which is
 * dropped and taken again.
 */
void tf_dense_zeros(struct tf_batch *batch, struct tf_block *b,
		    const struct tf_bits *zeros, struct tf_bits *moved);

#endif
