/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is really mapped, against what the engine's tables say: every page of
 * a memslot that /proc/self/maps shows as a mapping of a stable store is a
 * SHARED or COW frame of exactly that slot, and the other way round.
 */
#ifndef TF_TESTS_PROP_TABLES_H
#define TF_TESTS_PROP_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/frame.h"

struct tf_engine;

/* Fails the test unless tables and mappings agree. Takes the engine's lock,
 * touches no guest memory. */
void prop_check_tables(struct tf_engine *e);

/* Is a stable store mapped anywhere in [addr, addr + len)? So it is after a
 * memslot was deleted that had pages which the kernel copied. */
bool prop_maps_store(const char *addr, size_t len);

/* The state of the frame at `addr`, or TF_FRAME_NONE outside of memslots. */
enum tf_frame_state prop_frame_state(struct tf_engine *e, const char *addr);

/* Does it wait to be settled? */
bool prop_frame_pending(struct tf_engine *e, const char *addr);

#endif
