/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of memslots, as guests and engines need it. */
#ifndef TF_ENGINE_MEMSLOT_H
#define TF_ENGINE_MEMSLOT_H

#include "engine/region.h"

/*
 * Forget a region and give its frames their own pages again. Caller holds the
 * engine's lock; it is dropped now and then.
 */
void tf_memslot_remove(struct tf_region *r);

/*
 * Forget a region of an engine that is ending: no thread of it runs. Needs no
 * memory, touches no page; shared frames stay copy-on-write.
 */
void tf_memslot_abandon(struct tf_region *r);

#endif
