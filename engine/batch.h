/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A batch: the frames that go through one fence together. Planned leg by leg
 * (merge.c), carried out in one go (batch.c, judge.c, promote.c).
 *
 * A leg succeeds or is undone alone, except the two legs of a pair: a new
 * content is made of both or not at all. If one of them then cannot be mapped,
 * the content begins with one sharer.
 */
#ifndef TF_ENGINE_BATCH_H
#define TF_ENGINE_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/fence.h"
#include "engine/frame.h"
#include "twinfold/engine.h"

enum tf_leg_kind {
	TF_LEG_ZERO,   /* becomes the zero page */
	TF_LEG_JOIN,   /* compare with `dup`, share it */
	TF_LEG_GROW,   /* compare with `dup`, which is full: a new dup */
	TF_LEG_PAIR,   /* compare with `mate`: a new content */
	TF_LEG_MATE,   /* the other half of a pair */
	TF_LEG_BRIDGE, /* compare with its hash: a new content, unique */
};

struct tf_leg {
	struct tf_block *block;
	struct tf_leg *mate;
	char *addr;
	uint64_t hash; /* of a bridge: 48 bits, until it was judged */
	uint32_t dup;  /* a place in it is reserved once it is the target */
	uint32_t slot;
	uint16_t page;  /* in the block */
	uint16_t stage; /* in the staging area */
	uint8_t kind;
	bool reserved; /* `dup` counts us in `pending` */
	bool slotted;  /* `slot` was allocated and has no dup yet */
	bool moved;    /* the page is in the staging area */
	bool mapped;   /* home is what it should become */
	bool copied;   /* ... but the kernel copied it meanwhile */
	int err;       /* 0, or why the leg is undone */
};

struct tf_batch {
	struct tf_engine *engine;
	struct tf_pass *pass; /* what this pass counts, never NULL */
	unsigned n;
	unsigned cost;    /* of its runs of pages, see merge.c */
	unsigned planned; /* mappings the legs may add */
	struct tf_leg leg[TF_STAGE_PAGES];
	struct tf_leg *sorted[TF_STAGE_PAGES]; /* by address */
};

/*
 * Close the fence, judge, map, open, book. The batch is empty afterwards and
 * the staging pages it used are to be swept; the number of them. Caller holds
 * the engine's lock and pass_lock. Legs cannot fail together: errors are the
 * legs' own.
 */
unsigned tf_batch_run(struct tf_batch *batch);

/* The leg is undone, and so is the other half of a pair. */
void tf_leg_fail(struct tf_leg *leg, int err);

#endif
