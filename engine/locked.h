/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mlockall(MCL_FUTURE). It populates every new mapping at once, merged ones
 * with private copies: while it is in force, sharing costs instead of saving.
 */
#ifndef TF_ENGINE_LOCKED_H
#define TF_ENGINE_LOCKED_H

#include <stdbool.h>

struct tf_engine;

/* Is it in force now? Three system calls. */
bool tf_future_is_locked(const struct tf_engine *e);

/*
 * The same, and from now on merging rests, or goes on; the log says which.
 * Caller holds pass_lock and not the engine's lock.
 */
bool tf_locked_look(struct tf_engine *e);

/* The same, if the last look was 0.1 s ago or more: it waits for whoever
 * changes or populates the process's mappings, for milliseconds where the
 * guests' threads fault all the time. */
void tf_locked_refresh(struct tf_engine *e);

#endif
