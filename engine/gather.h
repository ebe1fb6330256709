/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathering: pages that broke sit in mappings of their own, and stay apart
 * from their neighbours for ever, because the kernel does not join anonymous
 * mappings that were moved with pages in them. Gathering puts them into one
 * fresh mapping, which joins.
 */
#ifndef TF_ENGINE_GATHER_H
#define TF_ENGINE_GATHER_H

#include <pthread.h>
#include <stdbool.h>

#include "engine/frame.h"

struct tf_engine;

struct tf_gather {
	int uffd; /* -1: never gather */
	int quit; /* eventfd */
	pthread_t thread;
	bool running;
	/* The run that is being gathered; its sleepers are ours to wake. */
	_Atomic(char *) from, to;
};

/* Start and end. A kernel that cannot do it is no error. -ENOMEM, -EMFILE ... */
int tf_gather_init(struct tf_engine *e);
void tf_gather_fini(struct tf_engine *e);

/* Is it time to look at this block? Caller holds the lock. */
bool tf_gather_due(const struct tf_block *b);

/*
 * Gather the pages of a block that broke, only those that have settled if
 * `cold`. Best effort; no byte changes, but pages look written afterwards.
 * Caller holds pass_lock and lock; the lock is dropped between runs, so the
 * region must be in use.
 */
void tf_gather_block(struct tf_block *b, bool cold);

#endif
