/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The map of a storm of memory errors: what each page holds, and what it is to
 * hold again, under the page's lock; and how the engine sees it. Zones are
 * blocks of their own: contents with many copies, zeros, unique pages, and
 * contents of four pages each.
 */
#ifndef TF_TESTS_LIB_STORM_H
#define TF_TESTS_LIB_STORM_H

#include "lib/load_world.h"

#define STORM_ZONE 512u  /* pages: one block */
#define STORM_MANY 1024u /* pages of the contents with many copies */
#define STORM_ZERO_AT STORM_MANY
#define STORM_UNIQUE_AT (STORM_ZERO_AT + STORM_ZONE)
#define STORM_LONE_AT (STORM_UNIQUE_AT + STORM_ZONE)
#define STORM_LONE_GROUPS (STORM_ZONE / 4)
#define STORM_PAGES (STORM_LONE_AT + STORM_ZONE)

#define STORM_WORDS (TF_PAGE / sizeof(uint64_t))

struct storm {
	struct world world;
	pthread_mutex_t lock[STORM_PAGES]; /* of a page, by rising number */
	char *shadow;                      /* what it holds, under its lock */
	uint64_t fresh;                    /* unique numbers, under atomics */
	struct worker faulter, writer[2], reader, unmerger, discarder, merger;
	uint64_t target;
	/* The faulter's. */
	uint64_t faults, healed, told, vmces;
	/* Each the one worker's. */
	uint64_t unmerges, refused, discards;
	atomic_ulong writes, reads;
};

/* A page as the engine sees it. */
struct storm_look {
	unsigned state;
	unsigned twins; /* other healthy dups of its content */
};

char *storm_page(const struct storm *s, unsigned page);
char *storm_shadow(const struct storm *s, unsigned page);

/* `n` pages, each `step` further than the one before. */
void storm_lock(struct storm *s, unsigned page, unsigned n, unsigned step);
void storm_unlock(struct storm *s, unsigned page, unsigned n, unsigned step);

/* What the page is to return to. Caller holds its lock. */
void storm_fill(struct storm *s, unsigned page);
/* It holds what it must, or the test ends. Caller holds its lock. */
void storm_verify(const struct storm *s, unsigned page, const char *who);

/* Takes the engine's lock. */
struct storm_look storm_look(const struct storm *s, unsigned page);

#endif
