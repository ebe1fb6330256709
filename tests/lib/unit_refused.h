/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of refused frames share: an engine with a small budget of
 * mappings, and the frames that it left on the table.
 */
#ifndef TF_TESTS_LIB_UNIT_REFUSED_H
#define TF_TESTS_LIB_UNIT_REFUSED_H

#include "lib/unit_world.h"

/* unit_init() and unit_open() with so many mappings. smart_scan is off. */
void refused_open(struct unit *u, size_t budget);

/*
 * A guest with a block of RAM. Three contents, one of them three times, lie
 * in its first seven pages, and two passes looked at them.
 */
struct tf_guest *refused_seven(struct unit *u, char **ram);

bool refused_at(struct unit *u, const char *addr);
/* Checks the invariants, and that the count is the sum of the frames. */
uint64_t refused_count(struct unit *u);

#endif
