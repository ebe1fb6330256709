/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of gathering share: RAM of two equal halves that is merged,
 * written page by page, and looked at when it has come back to one mapping.
 */
#ifndef TF_TESTS_LIB_UNIT_GATHER_H
#define TF_TESTS_LIB_UNIT_GATHER_H

#include "lib/unit_world.h"

#define GATHER_PAGES 32u
#define GATHER_HALF (GATHER_PAGES / 2)
#define GATHER_BYTES (GATHER_PAGES * TF_PAGE)

/* Content of page i after it was written. */
#define GATHER_FRESH(i) (1000u + (i))

/* More passes than gathering ever waits. */
#define GATHER_LONG 50u

/* Content of GATHER_PAGES pages as unit_merged() makes it. */
void gather_fill_halves(char *ram);
/* Each half of `n` pages holds that. */
void gather_assert_halves(const char *ram, unsigned n);

/* Write pages [0, n), in a random order that is always the same. */
void gather_write_all(char *ram, unsigned n);

/* Passes until `n` pages were gathered. */
void gather_await(struct unit *u, uint64_t n);
/* Gather the block of `ram` now, as a pass does it. */
void gather_now(struct unit *u, const char *ram);

/* Mappings of this process that meet [ram, ram + bytes). */
unsigned gather_maps_inside(const char *ram, size_t bytes);
bool gather_is_foreign(struct unit *u, const char *page);
void gather_assert_one_mapping(struct unit *u, const char *ram, unsigned n);

/* Everything can be written, merges, breaks and is gathered once more. */
void gather_assert_alive(struct unit *u, struct tf_guest *g, char *ram);

#endif
