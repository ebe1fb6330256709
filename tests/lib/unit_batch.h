/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of batches share: two equal pages that the next pass makes a
 * pair of, and calls of the kernel seam that fail meanwhile.
 */
#ifndef TF_TESTS_LIB_UNIT_BATCH_H
#define TF_TESTS_LIB_UNIT_BATCH_H

#include "lib/unit_world.h"

#define BATCH_PAGES 16u

struct batch_fault {
	int err;
	unsigned left; /* so many more calls fail */
};

extern struct batch_fault batch_fault;

/* Two equal pages that wait, the first two of BATCH_PAGES; nothing fails. */
struct tf_guest *batch_open(struct unit *u, char **ram);

/* For the calls of a case: does this one fail, with batch_fault.err? */
bool batch_fails(void);
void batch_arm(int err, unsigned times);
/* The calls that cases break are the kernel's again. */
void batch_mend(struct unit *u);

/* The pass that failed is over: nothing is shared, nothing is lost, the pages
 * merge later. Closes the world. */
void batch_assert_undone(struct unit *u, char *ram);

#endif
