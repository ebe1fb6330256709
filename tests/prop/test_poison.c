/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory errors at any moment, against a plain model. Pages are lost between
 * steps by tf_ras_inject(), and inside of steps at a chosen call of the kernel
 * seam: while a page is fenced, becomes a slot, is mapped, breaks, is gathered
 * or put back, while its sharers are healed, and on the donor and the fresh
 * copy that heal them. Writers run at full speed meanwhile in some steps, and
 * two threads meet at one lost page in others.
 *
 * After every step all invariants hold, and nothing that is lost was read,
 * written again or punched. No wrong byte is ever read and no write is lost;
 * a page whose content had a source is healed, and one that had none gives one
 * vMCE, for the right page. A lost slot has no sharers after healing, and no
 * dup ever has it again.
 *
 * TF_SEED: replay; threads run as they like, so a failure may take a few
 * attempts. TF_STEPS: how many. TF_POISON_LEAVE_OUT: names of what is not to
 * be held against the engine, see `gaps`.
 *
 * ctest-timeout: 240
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/poison_apps.h"
#include "tests/lib/poison_seam.h"
#include "tests/lib/poison_trap.h"
#include "tests/lib/poison_verdict.h"
#include "tests/lib/prop.h"
#include "tests/lib/prop_tables.h"
#include "tests/lib/threads.h"

#define EPOCH_STEPS 400u

/* What can be left out, to look for something else. */
enum gap {
	GAP_COW,    /* unwritten COW frames over a lost slot heal */
	GAP_DELETE, /* lost pages heal before their memslot goes */
	GAPS
};

static const char *const gaps[GAPS] = { "cow", "delete" };

static struct test {
	struct prop_rng rng;
	struct tf_engine *engine;
	struct fates fates;
	bool strict[GAPS];
	uint64_t vmces_before; /* told in this engine's life */
	uint64_t merged, bridged, heals, injected, lost;
} t;

static unsigned below(unsigned n)
{
	return prop_below(&t.rng, n);
}

static struct poison_range any_range(unsigned max)
{
	return poison_range(&t.rng, max);
}

static struct model_guest *guest_of(struct poison_range r)
{
	return &t.fates.guests[r.guest];
}

static void collect(void)
{
	poison_collect(t.engine, &t.fates, t.vmces_before);
}

/* ---- steps ---- */

/* In half of the steps a page is lost inside of them. */
static void arm(void)
{
	static const unsigned far[] = { 1, 3, 10, 40 };
	enum poison_point point = (enum poison_point)below(POINTS);
	unsigned countdown = below(far[below(4)]);
	unsigned budget = 1 + (below(4) ? 0 : below(4));

	if (below(2))
		return;
	prop_note("  arm: %s, call %u, %u times", poison_point_name(point),
		  countdown, budget);
	poison_seam_arm(point, countdown, budget, prop_next(&t.rng));
}

static void step_fill(void)
{
	struct poison_range r = any_range(60);
	unsigned content = below(MODEL_CONTENTS), step = below(2);
	unsigned road = below(2) ? 1 + below(30000) : 0;

	prop_note("fill guest %u, %u pages at %u, content %u step %u road %u",
		  r.guest, r.pages, r.page, content, step, road);
	arm();
	poison_apps_fill(r, content, step, road);
}

static void step_write(void)
{
	unsigned n = 1 + below(16);

	prop_note("%u writes", n);
	arm();
	poison_apps_write(below(POISON_APPS), n, prop_next(&t.rng));
}

static void step_pass(void)
{
	struct tf_pass pass = { .size = sizeof(pass) };
	bool busy = !below(4);
	int err;

	prop_note("pass%s", busy ? ", with writers" : "");
	arm();
	if (busy)
		poison_apps_hurry(prop_next(&t.rng));
	err = tf_engine_pass(t.engine, &pass);
	poison_apps_rest();
	PROP_EXPECT(!err, "pass: error %d", err);
	t.merged += pass.merged;
	t.bridged += pass.bridged;
}

static bool inject_at(struct poison_range r)
{
	struct model_guest *g = guest_of(r);
	int err;

	if (!model_backed(g, r.page, 1))
		return false;
	err = poison_seam_inject(t.engine, g->guest, model_gpa(r.page),
				 model_page(g, r.page));
	PROP_EXPECT(!err, "inject: %d", err);
	t.injected++;
	return true;
}

static void step_inject(void)
{
	unsigned n = 1 + below(below(3) ? 2 : 8);
	bool busy = !below(3);

	prop_note("%u faults%s", n, busy ? ", with writers" : "");
	arm();
	if (busy)
		poison_apps_hurry(prop_next(&t.rng));
	while (n--) {
		struct poison_range r = any_range(1);

		prop_note("  fault at guest %u, page %u", r.guest, r.page);
		inject_at(r);
	}
	poison_apps_rest();
}

static void step_look(void)
{
	struct poison_range r = any_range(200);

	prop_note("look at guest %u, %u pages at %u", r.guest, r.pages, r.page);
	arm();
	poison_apps_look(below(POISON_APPS), r);
}

/* Two threads write to one lost page at once. */
static void step_meet(void)
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
		if (fates_of(&t.fates,
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
		poison_settle(t.engine);
	}
	PROP_EXPECT(!err || (err == -EHWPOISON && any_lost(r)), "%s: %d", what,
		    err);
	return err;
}

static void step_unmerge(void)
{
	struct poison_range r = any_range(200);

	if (!model_backed(guest_of(r), r.page, r.pages))
		return;
	prop_note("unmerge guest %u, %u pages at %u", r.guest, r.pages, r.page);
	repeat(tf_guest_unmerge, r, "unmerge");
}

static void step_pin(void)
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

static void step_discard(void)
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
	fates_discarded(&t.fates, r.guest, r.page, r.pages);
}

static void step_collect(void)
{
	prop_note("collect");
	collect();
}

static void step_look_at_all(void)
{
	prop_note("look at all");
	arm();
	poison_apps_look_at_all();
	poison_settle(t.engine);
	/* What was lost meanwhile is met now. */
	poison_apps_look_at_all();
	collect();
	poison_check_slots(t.engine);
	prop_check_tables(t.engine);
}

static void add_slot(struct model_guest *g, unsigned i)
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
			t.engine, model_page(guest_of(r), r.page));

		if (state == TF_FRAME_ZERO)
			poison_apps_look(0, r);
	}
}

/* A memslot goes, and comes back if nothing is left there that the kernel
 * copies on write: its slot must not be lost, nobody would heal it. */
static void step_replace(void)
{
	struct model_guest *g = &t.fates.guests[below(MODEL_GUESTS)];
	unsigned i = below(MODEL_AREAS);

	if (!g->slots[i].used)
		return;
	prop_note("replace memslot %u of guest %d", i,
		  (int)(g - t.fates.guests));
	if (!t.strict[GAP_DELETE])
		poison_apps_look_at_all();
	look_before((unsigned)(g - t.fates.guests), i);
	collect();
	PROP_EXPECT(!tf_guest_del_memslot(g->guest, i), "del memslot");
	g->slots[i].used = false;
	add_slot(g, i);
	poison_apps_look_at_all();
}

static const struct prop_step steps[] = {
	{ step_fill, 18 },   { step_write, 16 },      { step_pass, 30 },
	{ step_inject, 14 }, { step_look, 8 },        { step_meet, 4 },
	{ step_unmerge, 4 }, { step_pin, 2 },         { step_discard, 4 },
	{ step_collect, 4 }, { step_look_at_all, 5 }, { step_replace, 1 },
};

/* ---- epochs ---- */

static void guests_create(void)
{
	struct tf_guest_opts o = { .size = sizeof(o), .trust_domain = "one" };

	for (unsigned i = 0; i < MODEL_GUESTS; i++) {
		struct model_guest *g = &t.fates.guests[i];

		model_open(g, false);
		PROP_EXPECT(!tf_guest_create(t.engine, &o, &g->guest),
			    "create guest");
		for (unsigned a = 0; a < MODEL_AREAS; a++)
			add_slot(g, a);
	}
}

static void on_verdict(void *user, const struct tf_ras_verdict *v)
{
	(void)user;
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		if (v->guest && v->guest == t.fates.guests[i].guest)
			prop_note("    verdict: class %d, source %d, guest %u, "
				  "page %u",
				  (int)v->cls, (int)v->source, i,
				  (unsigned)((v->gpa - MODEL_GPA) /
					     TF_PAGE_SIZE));
}

static void epoch_begin(unsigned no)
{
	struct tf_ras_opts ras = { .size = sizeof(ras),
				   .vmce_eventfd = -1,
				   .event = on_verdict };
	struct tf_engine_opts o;

	tf_engine_opts_init(&o);
	o.max_page_sharing = below(3) ? 2 + below(6) : 40;
	o.min_copies = 1 + (int)below(2);
	o.copy_sharers = 2 + below(6);
	o.use_zero_pages = (int)below(4) != 0;
	o.smart_scan = (int)below(2);
	o.scan_mode = below(3) ? TF_SCAN_AUTO : TF_SCAN_HASH;
	prop_note("epoch %u: max_page_sharing %u, copies %d from %u, zero %d, "
		  "smart %d, mode %d",
		  no, o.max_page_sharing, (int)o.min_copies,
		  (unsigned)o.copy_sharers, o.use_zero_pages, o.smart_scan,
		  (int)o.scan_mode);
	poison_seam_init(&t.fates);
	poison_seam.oracle.cow_heals = t.strict[GAP_COW];
	PROP_EXPECT(!tf_engine_create_os(&o, &poison_seam.os, &t.engine),
		    "create");
	poison_seam_begin(t.engine);
	poison_apps_watch(t.engine);
	PROP_EXPECT(!tf_ras_install(t.engine, &ras), "install");
	guests_create();
	t.vmces_before = t.fates.told_all;
}

static void epoch_end(void)
{
	struct tf_stats s = { .size = sizeof(s) };

	step_look_at_all();
	tf_engine_stats(t.engine, &s);
	t.heals += s.heals;
	t.lost += trap_count();
	poison_seam_end();
	tf_engine_destroy(t.engine);
	poison_apps_watch(NULL);
	t.engine = NULL;
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		model_close(&t.fates.guests[i]);
}

static void epochs(unsigned long n)
{
	for (unsigned no = 0; n; no++) {
		unsigned long part = n < EPOCH_STEPS ? n : EPOCH_STEPS;

		epoch_begin(no);
		for (n -= part; part--;) {
			alarm(60);
			prop_take_step(&t.rng, steps,
				       sizeof(steps) / sizeof(*steps));
			poison_seam_disarm();
			poison_seam_check(t.engine, "after a step");
		}
		epoch_end();
	}
}

static void read_gaps(void)
{
	const char *text = getenv("TF_POISON_LEAVE_OUT");

	for (unsigned i = 0; i < GAPS; i++)
		t.strict[i] = !text || !strstr(text, gaps[i]);
}

static void report(void)
{
	printf("%llu pages merged, %llu bridged, %llu faults between steps; %llu slots and "
	       "%llu pages without a source lost, %llu heals, %llu vMCEs\n",
	       (unsigned long long)t.merged, (unsigned long long)t.bridged,
	       (unsigned long long)t.injected, (unsigned long long)t.lost,
	       (unsigned long long)t.fates.doomed, (unsigned long long)t.heals,
	       (unsigned long long)t.fates.told_all);
	for (unsigned i = 0; i < POINTS; i++)
		printf("  %-24s %9lu calls, %6lu faults\n",
		       poison_point_name((enum poison_point)i),
		       poison_seam.calls[i], poison_seam.fired[i]);
}

int main(void)
{
	unsigned long n = prop_env("TF_STEPS", test_scaled(12000));
	struct leak before;

	t.rng.state = prop_begin("test_poison");
	read_gaps();
	prop_require_merging();
	/* Below the handler of ras/: what that does not heal ends the test. */
	prop_watchdog(60, "a step of the poison test");
	poison_apps_start(&t.fates);
	epochs(20);
	leak_take(&before);
	epochs(n);
	prop_check_held(&before, "at the end");
	poison_apps_stop();
	report();
	PROP_EXPECT(t.merged > n && t.heals > n / 100 && t.bridged > n / 100,
		    "next to nothing healed");
	return 0;
}
