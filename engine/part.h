/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Un-merging a range for good, and frames that the kernel would copy. Caller
 * holds the engine's lock.
 */
#ifndef TF_ENGINE_PART_H
#define TF_ENGINE_PART_H

#include "engine/frame.h"

/*
 * Give every merged frame of pages [from, to) a page of its own. The lock is
 * dropped while lost pages are healed: the region must be in use, or dying by
 * the caller's hand. The first error, after all was tried: -ENOMEM, or
 * -EHWPOISON if a page is lost for good.
 */
int tf_part_range(struct tf_block *b, unsigned from, unsigned to);

/*
 * A COW frame that the kernel has not copied yet is protected and SHARED
 * again; one that it has copied is private already and stays. False: it
 * stays, for this reason or another.
 */
bool tf_cow_recover(struct tf_block *b, unsigned page);

/* A COW frame that the kernel has not copied, and cannot copy any more? */
bool tf_cow_is_lost(const struct tf_block *b, unsigned page);

#endif
