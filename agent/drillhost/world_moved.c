/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See world.h: a whole drill of a page that moves before it fails. */
#include <stdio.h>
#include <string.h>

#include "agent/drillhost/world.h"

static void tell(struct row *row)
{
	size_t used = strlen(row->outcome);

	if (row->passed)
		snprintf(row->outcome + used, sizeof(row->outcome) - used,
			 "; the page has moved");
}

/* Guests go on meanwhile. */
void world_one_move(struct cell *cell, const struct world_opts *opts,
		    enum tf_work_kind kind, bool corrected)
{
	static struct world world;
	struct world_victim victim = { 0 };
	int r = world_create(cell, opts, &world);

	if (!r)
		r = world_rounds(&world, TF_WORK_RUN, 1);
	if (!r)
		r = world_pick(&world, kind, &victim);
	if (!r)
		r = world_move(&world, victim.hva, corrected);
	if (!r)
		world_finish(&world);
	tell(cell->row);
}
