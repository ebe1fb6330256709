/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An engine with healing and one guest, for tests of machine checks. Failures
 * fail the cmocka test that runs.
 */
#ifndef TF_TESTS_MCE_WORLD_H
#define TF_TESTS_MCE_WORLD_H

#include <stdint.h>

#include "lib/guests.h"

#define BURST 60

struct world {
	struct tf_engine *engine;
	struct tf_guest *guest;
	struct tf_work *work; /* the test's */
	int eventfd;          /* says that a machine check waits */
};

void open_engine(struct world *w);
void close_engine(struct world *w);
void lose(struct world *w, uint64_t gpa);

/* As the kernel tells of an error that nobody has consumed. */
void tell_of(struct world *w, struct tf_vm *vm, uint64_t gpa);

#endif
