/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AMD, guests of the lightweight VMM under nested KVM: soft_offline_page, for
 * pages of guests, and for everything in the process that is not a guest's, the
 * engine's own memory. The kernel moves them; nothing is lost, and nothing may be
 * taken for lost.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/clock.h"
#include "agent/drillhost/offline.h"
#include "agent/drillhost/world.h"

#define NEEDS (CAP(SOFT_OFFLINE) | CAP(NESTED_KVM) | CAP(MERGE))

/* As many of the engine's pages as can be moved in this time. */
#define OWN_S 25.0
#define STRIDE 8u

static void shared(struct cell *cell)
{
	world_one_move(cell, &(struct world_opts){ .backend = TF_BACKEND_KVM },
		       TF_WORK_COMMON, false);
}

static void unique(struct cell *cell)
{
	world_one_move(cell, &(struct world_opts){ .backend = TF_BACKEND_KVM },
		       TF_WORK_UNIQUE, false);
}

/* ---- the engine's own memory ---- */

struct range {
	uintptr_t from, to;
};

static bool is_guests(const struct world *w, uintptr_t at)
{
	size_t half = (size_t)w->opts.mem_mib << 19;

	for (unsigned n = 0; n < w->faults.nguests; n++) {
		struct tf_vm *vm = tf_work_vm(w->faults.guest[n].work);
		uintptr_t low = (uintptr_t)tf_vm_hva(vm, 0, half);
		uintptr_t high =
			(uintptr_t)tf_vm_hva(vm, TF_WORK_HIGH_GPA, half);

		if ((at >= low && at < low + half) ||
		    (at >= high && at < high + half))
			return true;
	}
	return false;
}

/* Anonymous memory that is written to, and files without a name: the stores. */
static bool is_own(const char *line, struct range *ret)
{
	char mode[5], path[256] = "";

	if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %255s",
		   &ret->from, &ret->to, mode, path) < 3)
		return false;
	return mode[0] == 'r' &&
	       ((!*path && mode[1] == 'w') || !strcmp(path, "[heap]") ||
		!strncmp(path, "/memfd:", 7));
}

struct moves {
	double end;
	uintptr_t turn; /* of STRIDE pages this one */
	uint64_t moved, refused;
};

/* What has no frame is left alone. */
static void move_range(const struct world *w, const struct range *range,
		       struct moves *m)
{
	uintptr_t at = range->from + m->turn * TF_PAGE_SIZE;
	uint64_t pa;

	for (; at < range->to && clock_s() < m->end;
	     at += STRIDE * TF_PAGE_SIZE) {
		if (is_guests(w, at) || victim_pa((const void *)at, &pa))
			continue;
		if (offline_soft(pa))
			m->refused++;
		else
			m->moved++;
	}
}

/* From all over the process, whenever the time is over. */
static int move_own(const struct world *w, struct moves *m)
{
	char line[512];
	struct range range;

	m->end = clock_s() + OWN_S;
	for (m->turn = 0; m->turn < STRIDE && clock_s() < m->end; m->turn++) {
		FILE *maps = fopen("/proc/self/maps", "re");

		if (!maps)
			return -errno;
		while (fgets(line, sizeof(line), maps))
			if (is_own(line, &range))
				move_range(w, &range, m);
		fclose(maps);
	}
	return m->moved ? 0 : -ENOENT;
}

static void own(struct cell *cell)
{
	static struct world world;
	struct world_opts opts = { .backend = TF_BACKEND_KVM };
	struct row *row = cell->row;
	struct moves m = { 0 };
	size_t used;
	int r = world_create(cell, &opts, &world);

	if (!r)
		r = world_rounds(&world, TF_WORK_RUN, 1);
	if (!r && move_own(&world, &m))
		row_blame(row, "no page of the engine's was moved");
	if (!r)
		world_finish(&world);
	used = strlen(row->outcome);
	snprintf(row->outcome + used, sizeof(row->outcome) - used,
		 "; %" PRIu64 " pages have moved, %" PRIu64 " were in use",
		 m.moved, m.refused);
}

const struct drill_case drill_vmm_soft_shared = {
	.name = "vmm-soft-shared",
	.fault = "soft_offline_page, shared page",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = shared,
	.baseline = shared,
};

const struct drill_case drill_vmm_soft_unique = {
	.name = "vmm-soft-unique",
	.fault = "soft_offline_page, page that is nowhere else",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = unique,
	.baseline = unique,
};

const struct drill_case drill_vmm_soft_own = {
	.name = "vmm-soft-own",
	.fault = "soft_offline_page, the engine's own memory",
	.host = { .vendor = HOST_AMD, .cpus = 2, .nodes = 1 },
	.needs = NEEDS,
	.own_boot = true,
	.seconds = 120,
	.twinfold = own,
};
