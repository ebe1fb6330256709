/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The range walker: which pages of a region are populated and were written
 * since the last pass. Walks ranges, not addresses; a hole of any size costs
 * the kernel one skipped page-table level and us nothing.
 */
#ifndef TF_ENGINE_WALKER_H
#define TF_ENGINE_WALKER_H

#include "engine/region.h"

/*
 * Look at [from, to) or as much of it as fits one call; *reached says how far
 * it came. What was found is set in the blocks' `written` (and `huge`), and
 * is being watched again. The number of pages found, or -errno.
 *
 * Caller holds pass_lock and has entered the region; not the engine's lock.
 */
long tf_walk(struct tf_region *r, char *from, char *to, char **reached);

#endif
