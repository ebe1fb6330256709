/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a page that was mapped, write-protected and not yet touched looks like
 * in /proc/self/pagemap.
 */
#ifndef TF_ENGINE_MARKER_H
#define TF_ENGINE_MARKER_H

#include <stdbool.h>
#include <stdint.h>

struct tf_engine;

/*
 * Find out, from a page of the engine's own of which it is known. Afterwards
 * e->marker is the entry of such a page, or 0: this process may not see it
 * (it takes CAP_SYS_ADMIN), and such a page cannot be told from a copy that
 * was swapped out. Never fails. Called once, before any guest exists.
 */
void tf_marker_learn(struct tf_engine *e);

/* Is this the entry of a page that nobody has touched since it was mapped? */
bool tf_marker_is(const struct tf_engine *e, uint64_t entry);

/*
 * Can there be no page of the process's own behind this entry: nothing, a
 * lost page of a file, or a marker of whatever meaning (a simulated fault)?
 */
bool tf_marker_no_page(const struct tf_engine *e, uint64_t entry);

#endif
