/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of bridges share. Contents [1, ROAD_CONTENTS] lie side by side
 * first; then once more, in the same order, with a gap of unique pages before
 * each but the first: that part is the road.
 */
#ifndef TF_TESTS_LIB_UNIT_ROAD_H
#define TF_TESTS_LIB_UNIT_ROAD_H

#include "lib/unit_gather.h"

#define ROAD_CONTENTS 6u
#define ROAD_UNIQUE(i) (100000u + (i))

struct road {
	struct unit u;
	struct tf_guest *g;
	char *ram, *start; /* of the road */
	unsigned gap, pages;
};

/* `opts` and `os` may be changed between the two. */
void road_init(struct road *r, unsigned gap);
void road_open(struct road *r);
/* Both, and passes until it is merged. */
void road_build(struct road *r, unsigned gap);
/* Every page must hold its content. */
void road_close(struct road *r);

/* Page i of the road. */
char *road_page(const struct road *r, unsigned i);
uint64_t road_content(const struct road *r, unsigned i);
bool road_is_unique(const struct road *r, unsigned i);
bool road_is_bridge(struct road *r, unsigned i);

/* Bridges of the engine, all of them the guest's. */
uint64_t road_bridged(struct road *r);
/* Mappings that the road consists of. */
unsigned road_maps(const struct road *r);

#endif
