/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that the embedder has declared to be under I/O. Never fenced, never
 * merged. Caller holds the engine's lock.
 */
#ifndef TF_ENGINE_PINS_H
#define TF_ENGINE_PINS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/frame.h"

struct tf_guest;

bool tf_pinned(const struct tf_block *b, unsigned page);
bool tf_pinned_range(const struct tf_guest *g, uint64_t gpa, uint64_t bytes);

int tf_pin_add(struct tf_guest *g, uint64_t gpa, uint64_t bytes);
int tf_pin_remove(struct tf_guest *g, uint64_t gpa, uint64_t bytes);

#endif
