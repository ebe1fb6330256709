/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, guests of the lightweight VMM under nested KVM, which check and write
 * all the while: deferred errors at random pages, two at a time.
 */
#include <stdio.h>
#include <string.h>

#include "agent/clock.h"
#include "agent/drillhost/world.h"

#define SHARED 100
#define CPUS 2u
#define UNIQUE_EVERY 8 /* so often pages are lost that are nowhere else */

/* One page by each CPU. Guests stand still from the loss of the bytes until the
 * kernel knows; healing races with them. */
static int lose_some(struct world *w, const enum tf_work_kind kinds[CPUS])
{
	struct world_victim v[CPUS];
	int r = world_pause(w);

	for (unsigned i = 0; i < CPUS && !r; i++) {
		r = world_pick(w, kinds[i], &v[i]);
		if (!r)
			r = world_book(w, &v[i]);
	}
	if (!r)
		r = world_lose_all(w, v, CPUS, LOSE_DEFERRED);
	if (!r)
		r = world_resume(w);
	return r ? r : world_look(w);
}

static int storm(struct world *w)
{
	static const enum tf_work_kind shared[CPUS] = { TF_WORK_COMMON,
							TF_WORK_TWIN };
	static const enum tf_work_kind unique[CPUS] = { TF_WORK_UNIQUE,
							TF_WORK_UNIQUE };
	int r = 0;

	for (unsigned i = 0; i < SHARED / CPUS && !r; i++) {
		r = lose_some(w, shared);
		if (!r && i % UNIQUE_EVERY == 0)
			r = lose_some(w, unique);
	}
	return r;
}

static void run(struct cell *cell)
{
	static struct world world;
	const struct world_opts opts = { .backend = TF_BACKEND_KVM,
					 .mem_mib = 8 };
	struct row *row = cell->row;
	double began;
	size_t used;
	int r = world_create(cell, &opts, &world);

	if (!r)
		r = world_rounds(&world, TF_WORK_RUN, 1);
	began = clock_s();
	if (!r)
		r = storm(&world);
	if (r)
		return;
	began = clock_s() - began;
	world_finish(&world);
	used = strlen(row->outcome);
	snprintf(row->outcome + used, sizeof(row->outcome) - used,
		 "; %u errors in %.0f s", (unsigned)row->faults, began);
}

const struct drill_case drill_vmm_storm = {
	.name = "vmm-storm",
	.fault = "storm: 100 shared pages, 14 others",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MCE_POLL) | CAP(NESTED_KVM) |
		 CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.own_boot = true,
	.seconds = 240,
	.twinfold = run,
	.baseline = run,
};
