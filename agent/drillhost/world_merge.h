/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What only the world_*.c files share. */
#ifndef TWINFOLD_AGENT_DRILLHOST_WORLD_MERGE_H
#define TWINFOLD_AGENT_DRILLHOST_WORLD_MERGE_H

#include "agent/drillhost/world.h"

/* ---- world_merge.c ---- */

/* Merge all that has a twin, by the engine or by KSM, and go on merging. */
int world_merge(struct world *world);

/* ---- world.c ---- */

/* Blame the row, and return `r`. */
int world_failed(const struct world *world, const char *what, int r);
/* Read the guests' reports and take their machine checks. ESRCH: one died. */
int world_look(struct world *world);
void world_rest(void);

#endif
