/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of breaking ahead share: STREAM_PAGES pages that
 * unit_merged() made, and what is in them before and after a write.
 */
#ifndef TF_TESTS_LIB_UNIT_STREAM_H
#define TF_TESTS_LIB_UNIT_STREAM_H

#include "lib/unit_world.h"

#define STREAM_PAGES (4 * TF_BLOCK_PAGES)
#define STREAM_HALF (STREAM_PAGES / 2)

/* Pages broken at once, at most. */
#define STREAM_RUN 64u

/* Content of page i after it was written. */
#define STREAM_FRESH(i) (10000u + (i))

/* Write page i. */
void stream_write(char *ram, unsigned i);

/* The content of page i as unit_merged() left it. */
uint64_t stream_merged(unsigned i);
/* Pages [from, to) still have it. */
void stream_assert_untouched(const char *ram, unsigned from, unsigned to);
/* Shared frames of pages [from, to). */
unsigned stream_shared(struct unit *u, const char *ram, unsigned from,
		       unsigned to);

#endif
