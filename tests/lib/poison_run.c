/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps, in each of which a page may be lost. */
#include "tests/lib/poison_run.h"

#include <errno.h>

#include "tests/lib/poison_apps.h"
#include "tests/lib/poison_seam.h"
#include "tests/lib/poison_trap.h"
#include "tests/lib/poison_verdict.h"
#include "tests/lib/prop_tables.h"

struct poison_run poison_run;

unsigned poison_below(unsigned n)
{
	return prop_below(&poison_run.rng, n);
}

static struct poison_range any_range(unsigned max)
{
	return poison_range(&poison_run.rng, max);
}

static struct model_guest *guest_of(struct poison_range r)
{
	return &poison_run.fates.guests[r.guest];
}

static void collect(void)
{
	poison_collect(poison_run.engine, &poison_run.fates,
		       poison_run.vmces_before);
}

/* In half of the steps a page is lost inside of them. */
static void arm(void)
{
	static const unsigned far[] = { 1, 3, 10, 40 };
	enum poison_point point = (enum poison_point)poison_below(POINTS);
	unsigned countdown = poison_below(far[poison_below(4)]);
	unsigned budget = 1 + (poison_below(4) ? 0 : poison_below(4));

	if (poison_below(2))
		return;
	prop_note("  arm: %s, call %u, %u times", poison_point_name(point),
		  countdown, budget);
	poison_seam_arm(point, countdown, budget, prop_next(&poison_run.rng));
}

void poison_step_fill(void)
{
	struct poison_range r = any_range(60);
	unsigned content = poison_below(MODEL_CONTENTS), step = poison_below(2);
	unsigned road = poison_below(2) ? 1 + poison_below(30000) : 0;

	prop_note("fill guest %u, %u pages at %u, content %u step %u road %u",
		  r.guest, r.pages, r.page, content, step, road);
	arm();
	poison_apps_fill(r, content, step, road);
}

void poison_step_write(void)
{
	unsigned n = 1 + poison_below(16);

	prop_note("%u writes", n);
	arm();
	poison_apps_write(poison_below(POISON_APPS), n,
			  prop_next(&poison_run.rng));
}

void poison_step_pass(void)
{
	struct tf_pass pass = { .size = sizeof(pass) };
	bool busy = !poison_below(4);
	int err;

	prop_note("pass%s", busy ? ", with writers" : "");
	arm();
	if (busy)
		poison_apps_hurry(prop_next(&poison_run.rng));
	err = tf_engine_pass(poison_run.engine, &pass);
	poison_apps_rest();
	PROP_EXPECT(!err, "pass: error %d", err);
	poison_run.merged += pass.merged;
	poison_run.bridged += pass.bridged;
}

static bool inject_at(struct poison_range r)
{
	struct model_guest *g = guest_of(r);
	int err;

	if (!model_backed(g, r.page, 1))
		return false;
	err = poison_seam_inject(poison_run.engine, g->guest, model_gpa(r.page),
				 model_page(g, r.page));
	PROP_EXPECT(!err, "inject: %d", err);
	poison_run.injected++;
	return true;
}

void poison_step_inject(void)
{
	unsigned n = 1 + poison_below(poison_below(3) ? 2 : 8);
	bool busy = !poison_below(3);

	prop_note("%u faults%s", n, busy ? ", with writers" : "");
	arm();
	if (busy)
		poison_apps_hurry(prop_next(&poison_run.rng));
	while (n--) {
		struct poison_range r = any_range(1);

		prop_note("  fault at guest %u, page %u", r.guest, r.page);
		inject_at(r);
	}
	poison_apps_rest();
}

void poison_step_look(void)
{
	struct poison_range r = any_range(200);

	prop_note("look at guest %u, %u pages at %u", r.guest, r.pages, r.page);
	arm();
	poison_apps_look(poison_below(POISON_APPS), r);
}

/* Two threads write to one lost page at once. */
void poison_step_meet(void)
{
	struct poison_range r = any_range(1);

	prop_note("meet at guest %u, page %u", r.guest, r.page);
	if (inject_at(r))
		poison_apps_meet(r);
}

/* A page of the range may be lost for good. */
static bool any_lost(struct poison_range r)
{
	for (unsigned i = 0; i < r.pages; i++)
		if (fates_of(&poison_run.fates,
			     (struct fate_page){ r.guest, r.page + i }) >=
		    FATE_EITHER)
			return true;
	return false;
}

/* What meets a lost page says so; then it is healed, and works. */
static int repeat(int (*call)(struct tf_guest *, uint64_t, size_t),
		  struct poison_range r, const char *what)
{
	int err;

	arm();
	for (int i = 0; i < 6; i++) {
		err = call(guest_of(r)->guest, model_gpa(r.page),
			   (size_t)r.pages * TF_PAGE_SIZE);
		if (err != -EHWPOISON)
			break;
		PROP_EXPECT(trap_count(), "%s: nothing is lost", what);
		poison_settle(poison_run.engine);
	}
	PROP_EXPECT(!err || (err == -EHWPOISON && any_lost(r)), "%s: %d", what,
		    err);
	return err;
}

void poison_step_unmerge(void)
{
	struct poison_range r = any_range(200);

	if (!model_backed(guest_of(r), r.page, r.pages))
		return;
	prop_note("unmerge guest %u, %u pages at %u", r.guest, r.pages, r.page);
	repeat(tf_guest_unmerge, r, "unmerge");
}

void poison_step_pin(void)
{
	struct poison_range r = any_range(20);

	if (!model_backed(guest_of(r), r.page, r.pages))
		return;
	prop_note("pin guest %u, %u pages at %u", r.guest, r.pages, r.page);
	if (repeat(tf_guest_pin, r, "pin"))
		return;
	PROP_EXPECT(!tf_guest_unpin(guest_of(r)->guest, model_gpa(r.page),
				    (size_t)r.pages * TF_PAGE_SIZE),
		    "unpin");
}

void poison_step_discard(void)
{
	struct poison_range r = any_range(40);
	int err;

	if (!model_backed(guest_of(r), r.page, r.pages))
		return;
	prop_note("discard guest %u, %u pages at %u", r.guest, r.pages, r.page);
	err = tf_guest_discard(guest_of(r)->guest, model_gpa(r.page),
			       (size_t)r.pages * TF_PAGE_SIZE);
	PROP_EXPECT(!err, "discard: %d", err);
	model_discarded(guest_of(r), r.page, r.pages);
	fates_discarded(&poison_run.fates, r.guest, r.page, r.pages);
}

void poison_step_collect(void)
{
	prop_note("collect");
	collect();
}

void poison_step_look_at_all(void)
{
	prop_note("look at all");
	arm();
	poison_apps_look_at_all();
	poison_settle(poison_run.engine);
	/* What was lost meanwhile is met now. */
	poison_apps_look_at_all();
	collect();
	poison_check_slots(poison_run.engine);
	prop_check_tables(poison_run.engine);
}

void poison_add_slot(struct model_guest *g, unsigned i)
{
	const struct model_area *a = &model_areas[i];
	size_t bytes = (size_t)a->pages * TF_PAGE_SIZE;
	int err = tf_guest_add_memslot(g->guest, i, model_gpa(a->page),
				       model_page(g, a->page), bytes);

	if (err == -EOPNOTSUPP &&
	    prop_maps_store(model_page(g, a->page), bytes))
		return;
	PROP_EXPECT(!err, "add memslot: %d", err);
	g->slots[i] = (struct model_slot){ true, a->page, a->pages };
}

/* The kernel's zero page cannot be lost; where a simulated fault says so, only
 * a touch heals it. */
static void look_before(unsigned guest, unsigned area)
{
	struct poison_range r = { guest, model_areas[area].page, 1 };
	unsigned end = r.page + model_areas[area].pages;

	for (; r.page < end; r.page++) {
		enum tf_frame_state state = prop_frame_state(
			poison_run.engine, model_page(guest_of(r), r.page));

		if (state == TF_FRAME_ZERO)
			poison_apps_look(0, r);
	}
}

/* A memslot goes, and comes back if nothing is left there that the kernel
 * copies on write: its slot must not be lost, nobody would heal it. */
void poison_step_replace(void)
{
	struct model_guest *g =
		&poison_run.fates.guests[poison_below(MODEL_GUESTS)];
	unsigned i = poison_below(MODEL_AREAS);

	if (!g->slots[i].used)
		return;
	prop_note("replace memslot %u of guest %d", i,
		  (int)(g - poison_run.fates.guests));
	if (!poison_run.strict[POISON_GAP_DELETE])
		poison_apps_look_at_all();
	look_before((unsigned)(g - poison_run.fates.guests), i);
	collect();
	PROP_EXPECT(!tf_guest_del_memslot(g->guest, i), "del memslot");
	g->slots[i].used = false;
	poison_add_slot(g, i);
	poison_apps_look_at_all();
}
