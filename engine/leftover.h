/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What memslots that are gone have left: pages that the kernel has copied by
 * itself, in mappings of a store. A guest remembers them, and they are frames
 * again when their memory is registered again.
 */
#ifndef TF_ENGINE_LEFTOVER_H
#define TF_ENGINE_LEFTOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/region.h"

struct tf_leftover {
	char *addr;
	uint32_t dup; /* whose slot the mapping spans; its store is held */
	bool seen;    /* the mapping is still there */
};

/* A COW frame of a region that goes away. Best effort: memory that is not
 * remembered is refused. Caller holds the engine's lock. */
void tf_leftover_note(struct tf_block *b, unsigned page);

/* A memslot of the guest is about to be added; it was, or was refused. What
 * was seen for one that is over is not known any more. Caller holds the lock. */
void tf_leftover_look(struct tf_guest *g);
void tf_leftover_look_end(struct tf_guest *g);

/* Is [start, end), a mapping of a store's file from offset `off` on, left by
 * this guest? Takes the engine's lock. */
bool tf_leftover_is(void *guest, uintptr_t start, uintptr_t end, uint64_t off);

/*
 * Make room for those in a new region: -ENOMEM, or -EOPNOTSUPP if their store
 * is not the region's. Then, nothing can fail any more, make them frames. What
 * was not seen since is forgotten. Caller holds the lock.
 */
int tf_leftover_prepare(struct tf_region *r);
void tf_leftover_adopt(struct tf_region *r);

/* The guest goes away. Caller holds the lock, or nobody else is there. */
void tf_leftover_fini(struct tf_guest *g);

#endif
