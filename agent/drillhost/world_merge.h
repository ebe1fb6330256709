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
void world_rest(void);

/* world_copies.c: a page of a guest, in this process. */
char *world_hva(const struct world *w, unsigned guest,
		const struct tf_work_page *page);
/* Its frame, and the NUMA node of that. */
int world_look_up(const char *hva, struct world_copy *ret);

#endif
