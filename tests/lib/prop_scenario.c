/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The scenario of the fault tests. One at a time. */
#include "tests/lib/prop_scenario.h"

#include <stdio.h>

#include "tests/lib/prop.h"
#include "tests/lib/prop_tables.h"

static const char *now_failing;
uint64_t scenario_bridged;

static void look(struct rig *r, const char *when)
{
	struct tf_stats s = { .size = sizeof(s) };
	char text[200];

	prop_note("%s", when);
	tf_engine_stats(r->engine, &s);
	if (s.pages_bridged > scenario_bridged)
		scenario_bridged = s.pages_bridged;
	snprintf(text, sizeof(text), "%s, failing: %s", when, now_failing);
	rig_compare(r, text);
	os_fault_pause(&r->fault, true);
	prop_check_engine(r->engine, text);
	os_fault_pause(&r->fault, false);
	prop_check_tables(r->engine);
}

/* Pairs, groups beyond max_page_sharing, zeros, unique pages, and holes. */
static void fill_all(struct rig *r)
{
	for (unsigned i = 0; i < RIG_PAGES; i++) {
		if (i % 16 == 15)
			continue;
		rig_fill(r, i, i % 5 == 4 ? 0 : 1 + i % 7);
		if (i % 16 < 3 || i % 16 == 12)
			rig_poke(r, i, i * 40, (char)i);
	}
}

static void write_some(struct rig *r)
{
	for (unsigned i = 3; i < RIG_PAGES; i += 11) {
		rig_poke(r, i, i, 0x55);
		rig_fill(r, i + 1, 2);
	}
	rig_poke(r, 15, 4095, 1); /* a hole */
}

static void passes(struct rig *r, unsigned n)
{
	while (n--)
		rig_pass(r);
}

static void use(struct rig *r)
{
	fill_all(r);
	passes(r, 3);
	look(r, "after the first merges");
	write_some(r);
	look(r, "after breaks");
	passes(r, 3);
	look(r, "after merging again");
	rig_unmerge(r, 10, 50);
	look(r, "after unmerge");
	passes(r, 3);
	rig_discard(r, 30, 40);
	look(r, "after discard");
	if (!tf_guest_pin(r->guest, rig_gpa(20), (size_t)8 * TF_PAGE_SIZE))
		tf_guest_unpin(r->guest, rig_gpa(20), (size_t)8 * TF_PAGE_SIZE);
	fill_all(r);
	passes(r, 3);
	look(r, "after the last merges");
	tf_guest_del_memslot(r->guest, 1);
	look(r, "after a memslot went");
	rig_poke(r, 60, 7, 7);
	passes(r, 2);
	look(r, "before the end");
}

/* Whatever fails, at the end nothing is left but the bytes. */
void scenario_run(struct rig *r, const struct leak *before, const char *failing)
{
	char text[160];
	int err;

	now_failing = failing;
	prop_watchdog(20, now_failing);
	err = rig_start(r);
	if (!err)
		use(r);
	else
		prop_note("the engine could not start: %d", err);
	PROP_EXPECT(err <= 0, "a positive error, failing: %s", now_failing);
	rig_end(r);
	snprintf(text, sizeof(text), "after destroy, failing: %s", now_failing);
	rig_compare(r, text);
	rig_close(r);
	prop_check_held(before, text);
}
