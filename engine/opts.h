/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sized option structs, and guests at the end of an engine. */
#ifndef TF_ENGINE_OPTS_H
#define TF_ENGINE_OPTS_H

#include <stddef.h>

struct tf_guest;

/*
 * Copy what the caller's struct has of ours over the defaults in `to`. Both
 * begin with their size. NULL leaves the defaults. -EINVAL: a size below
 * that of size_t, or above ours with something set there.
 */
int tf_opts_copy(void *to, size_t size, const void *from);

/* Copy counters out to a caller's sized struct. -EINVAL. */
int tf_opts_export(void *to, const void *from, size_t size);

/* Free a guest without touching its memory; the engine is ending. */
void tf_guest_abandon(struct tf_guest *g);

#endif
