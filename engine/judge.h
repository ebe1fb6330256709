/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verdict on a batch's staged pages. Caller holds the engine's lock and
 * pass_lock. */
#ifndef TF_ENGINE_JUDGE_H
#define TF_ENGINE_JUDGE_H

#include "engine/batch.h"

/* Compare all 4096 bytes of every leg. Those that are no longer what they were
 * planned for fail with -EAGAIN, a lost page with -EHWPOISON. */
void tf_judge_all(struct tf_batch *batch);

/* The hash of a staged page, as settling takes it. -EHWPOISON. */
int tf_judge_hash(const struct tf_batch *batch, const struct tf_leg *leg,
		  uint64_t *ret);

#endif
