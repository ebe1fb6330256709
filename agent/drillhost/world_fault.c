/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See world.h: faults, and the verdict on what came of them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/drillhost/world_merge.h"

/* Times world_rest(): machine checks come a little after the round. */
#define LATE_TRIES 400
#define TOUCH_TRIES 10

static bool may_lose(void *user, unsigned guest,
		     const struct tf_work_page *page)
{
	const struct world *w = user;

	for (size_t i = 0; i < w->faults.n; i++)
		if (faults_same(&w->faults.list[i], guest, page))
			return false;
	return true;
}

/* A merged page has a frame when it is touched. */
int world_pa(const char *hva, uint64_t *ret)
{
	int r = -ENOENT;

	for (int i = 0; i < TOUCH_TRIES && r; i++) {
		(void)*(const volatile char *)hva;
		r = victim_pa(hva, ret);
	}
	return r;
}

int world_pick(struct world *world, enum tf_work_kind kind,
	       struct world_victim *ret)
{
	struct world_victim v = { 0 };
	int r;

	if (!faults_pick(&world->faults, kind, may_lose, world, &v.guest,
			 &v.page))
		return world_failed(world, "no page of that kind", -ENOENT);
	v.hva = world_hva(world, v.guest, &v.page);
	r = world_pa(v.hva, &v.pa);
	if (r)
		return world_failed(world, "the victim has no frame", r);
	*ret = v;
	return 0;
}

int world_book(struct world *world, const struct world_victim *victim)
{
	int r = faults_note(&world->faults, victim->guest, &victim->page);

	return r ? world_failed(world, "the book of faults", r) : 0;
}

int world_lose(struct world *world, const struct world_victim *victim,
	       enum lose_how how)
{
	int r = world_book(world, victim);

	return r ? r : world_lose_pa(world, victim->pa, how);
}

int world_lose_all(struct world *world, const struct world_victim *victims,
		   unsigned n, enum lose_how how)
{
	int r = 0;

	for (unsigned i = 0; i < n && !r; i++)
		r = victim_lose_on(world->cell, victims[i].pa, how, i);
	if (r)
		return world_failed(world, "no machine check can be raised", r);
	world->corrupted += n;
	r = victim_wait(world->corrupted);
	return r ? world_failed(world, "the kernel knows of no lost page", r) :
		   0;
}

int world_lose_pa(struct world *world, uint64_t pa, enum lose_how how)
{
	int r = victim_lose(world->cell, pa, how);

	if (r)
		return world_failed(world, "no machine check can be raised", r);
	r = victim_wait(++world->corrupted);
	return r ? world_failed(world, "the kernel knows of no lost page", r) :
		   0;
}

/* Nobody touches anything meanwhile. */
int world_early(struct world *world)
{
	struct tf_stats s = { .size = sizeof(s) };

	for (int i = 0; world->engine && i < LATE_TRIES; i++) {
		int r = tf_engine_stats(world->engine, &s);

		if (r || s.heals + s.vmces >= world->faults.n)
			return r;
		world_rest();
	}
	return world->engine ?
		       world_failed(world, "nothing was healed before a touch",
				    -ETIMEDOUT) :
		       0;
}

/* ---- the verdict ---- */

static void sum_reports(const struct world *w)
{
	struct row *row = w->cell->row;

	for (unsigned n = 0; n < w->faults.nguests; n++) {
		row->guest_checks += w->report[n].checks;
		row->guest_check_failures += w->report[n].failures;
		row->wrong_bytes += w->report[n].wrong_bytes;
		row->lost_writes += w->report[n].lost_writes;
	}
}

static void take_stats(const struct world *w)
{
	struct tf_stats s = { .size = sizeof(s) };
	struct row *row = w->cell->row;

	if (!w->engine || tf_engine_stats(w->engine, &s))
		return;
	row->healed = s.heals;
	row->unrecoverable = s.unrecoverable;
	row->by_source.fresh_copy = s.heals_fresh_copy;
	row->by_source.existing_dup = s.heals_existing_dup;
	row->by_source.zero = s.heals_other;
	row->vmces = w->faults.vmces;
	row->expected_vmces = w->faults.expected;
	if (s.transient_failed)
		row_blame(row, "%" PRIu64 " errors got no verdict in time",
			  s.transient_failed);
}

static void judge(const struct world *w)
{
	const struct faults *f = &w->faults;
	struct row *row = w->cell->row;

	if (row->guest_check_failures)
		row_blame(row, "%" PRIu64 " checks of guests failed",
			  row->guest_check_failures);
	if (faults_missing(f))
		row_blame(row,
			  "%" PRIu64 " pages were lost for good and their "
			  "guests took no machine check",
			  faults_missing(f));
	if (f->strays)
		row_blame(row,
			  "a machine check for a page that was not lost: guest "
			  "%u, gpa 0x%" PRIx64,
			  f->stray_guest + 1, f->stray_gpa);
	if (row->healed != f->n - f->expected)
		row_blame(row,
			  "%" PRIu64 " errors healed, and %" PRIu64
			  " had to heal",
			  row->healed, f->n - f->expected);
	if (row->unrecoverable)
		row_blame(row, "the engine lost memory of its own");
}

static void tell(const struct world *w)
{
	struct row *row = w->cell->row;
	const char *bytes = row->guest_check_failures ? "WRONG BYTES" :
							"every byte right";

	if (!w->engine)
		snprintf(row->outcome, sizeof(row->outcome),
			 "%u guests went on, %s", row->guests, bytes);
	else if (row->vmces)
		snprintf(row->outcome, sizeof(row->outcome),
			 "%u guests went on, %s, %" PRIu64
			 " told of their lost page",
			 row->guests, bytes, row->vmces);
	else
		snprintf(row->outcome, sizeof(row->outcome),
			 "%u guests noticed nothing, %s", row->guests, bytes);
}

void world_finish(struct world *world)
{
	struct faults *f = &world->faults;
	int r = world_rounds(world, TF_WORK_RUN, 2);

	for (int i = 0;
	     world->engine && !r && faults_missing(f) && i < LATE_TRIES; i++) {
		world_rest();
		r = world_look(world);
	}
	if (!r)
		r = world_rounds(world, TF_WORK_OVERWRITE, 1);
	if (r) {
		sum_reports(world);
		take_stats(world);
		return;
	}
	for (unsigned n = 0; n < f->nguests; n++)
		tf_work_stop(f->guest[n].work);
	world_look(world);
	sum_reports(world);
	take_stats(world);
	if (world->engine)
		judge(world);
	tell(world);
}

void world_one_fault(struct cell *cell, const struct world_fault *fault)
{
	static struct world world;
	struct world_victim victim = { 0 };
	int r = fault->early ? 0 : victim_late();

	if (!r)
		r = world_create(cell, &fault->opts, &world);
	if (!r)
		r = world_pause(&world);
	if (!r)
		r = world_pick(&world, fault->kind, &victim);
	if (!r)
		r = world_lose(&world, &victim, fault->how);
	if (!r && fault->early)
		r = world_early(&world);
	if (!r)
		r = world_resume(&world);
	if (!r)
		world_finish(&world);
}
