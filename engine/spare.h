/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Spare pages: anonymous memory with a region's attributes, filled by the
 * engine and then put over frames by one mremap. That is atomic: a reader
 * sees the old page or the new one, a writer who faults waits for either.
 *
 * Each page of a pool is used once and pools are renewed every 512 pages, so
 * that pages broken side by side join into one mapping, and no anon_vma
 * gathers more than one pool's pages.
 */
#ifndef TF_ENGINE_SPARE_H
#define TF_ENGINE_SPARE_H

#include "engine/region.h"

#define TF_SPARE_PAGES 512u

/*
 * See to it that `n` pages can be taken without asking the kernel: whoever
 * might lose a mapping wants the means to replace it before that. -ENOMEM.
 */
int tf_spare_reserve(struct tf_region *r, unsigned n);

/*
 * `n` adjacent spare pages, n <= TF_SPARE_PAGES, to be written and then
 * placed (or left: they are not handed out twice). Caller holds the lock.
 */
int tf_spare_take(struct tf_region *r, unsigned n, char **ret);

/*
 * Put `n` spare pages over [addr, addr + n pages), which then is private
 * anonymous memory, watched like the rest of its block. Waiters are not
 * woken. On failure the mapping at `addr` may be gone.
 */
int tf_spare_place(struct tf_region *r, char *from, unsigned n, char *addr);

void tf_spare_fini(struct tf_region *r);

#endif
