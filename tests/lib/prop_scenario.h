/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One life of an engine that visits all of it: merges, pairs, chains beyond
 * max_page_sharing, zero pages, breaks, merging again, unmerge, discard, pins,
 * a memslot that goes, and the end. Whatever call fails on the way, after
 * each part the invariants hold and every byte is right.
 */
#ifndef TF_TESTS_PROP_SCENARIO_H
#define TF_TESTS_PROP_SCENARIO_H

#include "tests/lib/leak.h"
#include "tests/lib/prop_rig.h"

/*
 * Run it on an open rig, and close the rig. `failing` says what is made to
 * fail, for messages. Creating the engine may fail; then only the end is
 * checked: nothing is left behind but the bytes.
 */
extern uint64_t scenario_bridged; /* the most that there were at a time */
void scenario_run(struct rig *r, const struct leak *before,
		  const char *failing);

#endif
