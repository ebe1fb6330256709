/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* New contents of a batch. Caller holds the engine's lock and pass_lock. */
#ifndef TF_ENGINE_PROMOTE_H
#define TF_ENGINE_PROMOTE_H

#include "engine/batch.h"

/* Every leg that was judged well has its dup and its slot afterwards, and a
 * place reserved in the dup; or it failed: -ENOSPC, -ENOMEM, -EIO, -EHWPOISON,
 * or -ECANCELED of a bridge to nowhere. */
void tf_promote_all(struct tf_batch *batch);

#endif
