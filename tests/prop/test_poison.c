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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/poison_apps.h"
#include "tests/lib/poison_run.h"
#include "tests/lib/poison_seam.h"
#include "tests/lib/poison_trap.h"
#include "tests/lib/threads.h"

#define EPOCH_STEPS 400u

static const char *const gaps[POISON_GAPS] = { "cow", "delete" };

static const struct prop_step steps[] = {
	{ poison_step_fill, 18 },       { poison_step_write, 16 },
	{ poison_step_pass, 30 },       { poison_step_inject, 14 },
	{ poison_step_look, 8 },        { poison_step_meet, 4 },
	{ poison_step_unmerge, 4 },     { poison_step_pin, 2 },
	{ poison_step_discard, 4 },     { poison_step_collect, 4 },
	{ poison_step_look_at_all, 5 }, { poison_step_replace, 1 },
};

static void guests_create(void)
{
	struct tf_guest_opts o = { .size = sizeof(o), .trust_domain = "one" };

	for (unsigned i = 0; i < MODEL_GUESTS; i++) {
		struct model_guest *g = &poison_run.fates.guests[i];

		model_open(g, false);
		PROP_EXPECT(!tf_guest_create(poison_run.engine, &o, &g->guest),
			    "create guest");
		for (unsigned a = 0; a < MODEL_AREAS; a++)
			poison_add_slot(g, a);
	}
}

static void on_verdict(void *user, const struct tf_ras_verdict *v)
{
	(void)user;
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		if (v->guest && v->guest == poison_run.fates.guests[i].guest)
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
	o.max_page_sharing = poison_below(3) ? 2 + poison_below(6) : 40;
	o.min_copies = 1 + (int)poison_below(2);
	o.copy_sharers = 2 + poison_below(6);
	o.use_zero_pages = (int)poison_below(4) != 0;
	o.smart_scan = (int)poison_below(2);
	o.scan_mode = poison_below(3) ? TF_SCAN_AUTO : TF_SCAN_HASH;
	prop_note("epoch %u: max_page_sharing %u, copies %d from %u, zero %d, "
		  "smart %d, mode %d",
		  no, o.max_page_sharing, (int)o.min_copies,
		  (unsigned)o.copy_sharers, o.use_zero_pages, o.smart_scan,
		  (int)o.scan_mode);
	poison_seam_init(&poison_run.fates);
	poison_seam.oracle.cow_heals = poison_run.strict[POISON_GAP_COW];
	PROP_EXPECT(!tf_engine_create_os(&o, &poison_seam.os,
					 &poison_run.engine),
		    "create");
	poison_seam_begin(poison_run.engine);
	poison_apps_watch(poison_run.engine);
	PROP_EXPECT(!tf_ras_install(poison_run.engine, &ras), "install");
	guests_create();
	poison_run.vmces_before = poison_run.fates.told_all;
}

static void epoch_end(void)
{
	struct tf_stats s = { .size = sizeof(s) };

	poison_step_look_at_all();
	tf_engine_stats(poison_run.engine, &s);
	poison_run.heals += s.heals;
	poison_run.lost += trap_count();
	poison_seam_end();
	tf_engine_destroy(poison_run.engine);
	poison_apps_watch(NULL);
	poison_run.engine = NULL;
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		model_close(&poison_run.fates.guests[i]);
}

static void epochs(unsigned long n)
{
	for (unsigned no = 0; n; no++) {
		unsigned long part = n < EPOCH_STEPS ? n : EPOCH_STEPS;

		epoch_begin(no);
		for (n -= part; part--;) {
			alarm(60);
			prop_take_step(&poison_run.rng, steps,
				       sizeof(steps) / sizeof(*steps));
			poison_seam_disarm();
			poison_seam_check(poison_run.engine, "after a step");
		}
		epoch_end();
	}
}

static void read_gaps(void)
{
	const char *text = getenv("TF_POISON_LEAVE_OUT");

	for (unsigned i = 0; i < POISON_GAPS; i++)
		poison_run.strict[i] = !text || !strstr(text, gaps[i]);
}

static void report(void)
{
	printf("%llu pages merged, %llu bridged, %llu faults between steps; %llu slots and "
	       "%llu pages without a source lost, %llu heals, %llu vMCEs\n",
	       (unsigned long long)poison_run.merged,
	       (unsigned long long)poison_run.bridged,
	       (unsigned long long)poison_run.injected,
	       (unsigned long long)poison_run.lost,
	       (unsigned long long)poison_run.fates.doomed,
	       (unsigned long long)poison_run.heals,
	       (unsigned long long)poison_run.fates.told_all);
	for (unsigned i = 0; i < POINTS; i++)
		printf("  %-24s %9lu calls, %6lu faults\n",
		       poison_point_name((enum poison_point)i),
		       poison_seam.calls[i], poison_seam.fired[i]);
}

int main(void)
{
	unsigned long n = prop_env("TF_STEPS", test_scaled(12000));
	struct leak before;

	poison_run.rng.state = prop_begin("test_poison");
	read_gaps();
	prop_require_merging();
	/* Below the handler of ras/: what that does not heal ends the test. */
	prop_watchdog(60, "a step of the poison test");
	poison_apps_start(&poison_run.fates);
	epochs(20);
	leak_take(&before);
	epochs(n);
	prop_check_held(&before, "at the end");
	poison_apps_stop();
	report();
	PROP_EXPECT(poison_run.merged > n && poison_run.heals > n / 100 &&
			    poison_run.bridged > n / 100,
		    "next to nothing healed");
	return 0;
}
