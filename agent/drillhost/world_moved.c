/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See world.h: a whole drill of a page that moves before it fails. */
#include <stdio.h>
#include <string.h>

#include "agent/drillhost/world.h"

/* What the kernel cannot do without us is no failure. */
static void tell(struct row *row, int moved)
{
	size_t used = strlen(row->outcome);

	if (moved && row->configuration == ROW_TWINFOLD)
		row_blame(row, "the kernel does not move the page: %s",
			  strerror(-moved));
	snprintf(row->outcome + used, sizeof(row->outcome) - used, "; %s",
		 moved ? "the kernel did not move the page" :
			 "the page has moved");
}

/* Guests go on meanwhile. */
void world_one_move(struct cell *cell, const struct world_opts *opts,
		    enum tf_work_kind kind, bool corrected)
{
	static struct world world;
	struct world_victim victim = { 0 };
	int r = world_create(cell, opts, &world), moved;

	if (!r)
		r = world_rounds(&world, TF_WORK_RUN, 1);
	if (!r)
		r = world_pick(&world, kind, &victim);
	if (r)
		return;
	moved = world_move(&world, victim.hva, corrected);
	world_finish(&world);
	tell(cell->row, moved);
}
