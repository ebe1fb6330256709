/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A write by another thread at every step of the fence, that is before every
 * call of the kernel seam that a merging pass makes. The write is not lost,
 * and the page counts as written: it is not merged again before it has waited
 * a pass. One scene merges a pair, one joins a dup, one makes zero pages, in one
 * the page is unique and bridges the gap between two pairs. A read at every
 * step sees the right bytes.
 *
 * A write in the window between mapping a slot and protecting it is copied by
 * the kernel: the frame is COW, and discard, unmerge and removal of the
 * memslot treat it as such.
 *
 * ctest-timeout: 120
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/model.h"
#include "tests/lib/prop.h"
#include "tests/lib/prop_app.h"
#include "tests/lib/prop_rig.h"
#include "tests/lib/prop_tables.h"

/* A writer that has not come through by then sleeps in a fault. */
#define BLOCKED_MS 3

/* The page that is written at some step. */
#define PAGE 5u
#define OTHER 9u
#define THIRD 13u

static struct test {
	struct prop_app app;
	struct rig rig;
	unsigned step;      /* write before this one */
	enum fault_kind at; /* which call that was */
	bool met, behind_fence;
	bool reads;       /* instead of writing */
	unsigned other;   /* page that is merged beside it */
	unsigned content; /* of the page, before */
} t;

static void write_page(void *arg)
{
	(void)arg;
	rig_poke(&t.rig, PAGE, 100, 0x77);
}

static void read_page(void *arg)
{
	(void)arg;
	if (memcmp(rig_page(&t.rig, PAGE), model_content(t.content),
		   TF_PAGE_SIZE) != 0)
		prop_fail("step %u, before %s: wrong bytes are read", t.step,
			  os_fault_name(t.at));
}

static void touch_at_step(void *user, enum fault_kind kind, unsigned index)
{
	(void)user;
	if (index != t.step)
		return;
	t.at = kind;
	t.met = true;
	prop_app_begin(&t.app, t.reads ? read_page : write_page, NULL);
	t.behind_fence = !prop_app_wait(&t.app, BLOCKED_MS);
}

static void expect_state(unsigned page, enum tf_frame_state state,
			 const char *when)
{
	enum tf_frame_state is =
		prop_frame_state(t.rig.engine, rig_page(&t.rig, page));

	PROP_EXPECT(is == state, "%s: page %u is in state %d, not %d", when,
		    page, (int)is, (int)state);
}

static void pass(const char *when)
{
	PROP_EXPECT(!rig_pass(&t.rig), "the pass %s failed", when);
}

/*
 * What merges with the page in the pass that is disturbed. BRIDGE: nothing, but
 * the pages beside it merge. BLIND: the page has broken, and could not be
 * registered for missing faults; without that, a fence would show a hole.
 */
enum scene {
	PAIR,
	JOIN,
	ZERO,
	BRIDGE,
	BLIND,
	SCENES
};

/* Merge, and break while nothing can be registered. */
static void make_blind(void)
{
	struct os_fault *f = &t.rig.fault;

	for (int i = 0; i < 3; i++)
		pass("before the break");
	expect_state(PAGE, TF_FRAME_SHARED, "before the break");
	os_fault_set(f, FAULT_UFFD_REGISTER, 0, FAULT_FOR_EVER, ENOMEM,
		     FAULT_CLEAN);
	rig_poke(&t.rig, PAGE, 0, 1);
	expect_state(PAGE, TF_FRAME_NEW, "after the break");
	os_fault_clear(f);
	rig_fill(&t.rig, PAGE, t.content);
}

#define UNIQUE 7u

static void prepare_bridge(void)
{
	t.content = UNIQUE;
	t.other = PAGE + 1;
	rig_fill(&t.rig, 0, 1);
	rig_fill(&t.rig, 2, 2);
	rig_fill(&t.rig, PAGE - 1, 1);
	rig_fill(&t.rig, PAGE, UNIQUE);
	rig_fill(&t.rig, PAGE + 1, 2);
	pass("that sees it");
}

/* Everything up to the pass that merges PAGE. */
static void prepare(enum scene scene)
{
	PROP_EXPECT(!rig_start(&t.rig), "the engine does not start");
	if (scene == BRIDGE) {
		prepare_bridge();
		return;
	}
	t.content = scene == ZERO ? 0 : 1;
	t.other = OTHER;
	rig_fill(&t.rig, OTHER, t.content);
	if (scene == JOIN) {
		rig_fill(&t.rig, THIRD, 1);
		for (int i = 0; i < 3; i++)
			pass("before the join");
		expect_state(THIRD, TF_FRAME_SHARED, "before the join");
	}
	rig_fill(&t.rig, PAGE, t.content);
	if (scene == BLIND)
		make_blind();
	else
		pass("that sees it");
}

/*
 * The pass that was disturbed has seen the write, or the next one does. In the
 * latter case the page only waits by then. What was written before it was
 * hashed is a bridge with what was written: no other page has to be like it.
 */
static void expect_seen(enum scene scene, uint64_t seen)
{
	struct tf_pass p = { .size = sizeof(p) };
	enum tf_frame_state state;

	PROP_EXPECT(!tf_engine_pass(t.rig.engine, &p), "the next pass failed");
	state = prop_frame_state(t.rig.engine, rig_page(&t.rig, PAGE));
	if (state == TF_FRAME_COW || seen)
		return;
	if (scene == BRIDGE && t.at == FAULT_HASH && state == TF_FRAME_SHARED)
		return;
	PROP_EXPECT(p.pages_volatile && state == TF_FRAME_NEW,
		    "step %u, before %s: written, the next pass saw %llu "
		    "writes, and the page is in state %d",
		    t.step, os_fault_name(t.at),
		    (unsigned long long)p.pages_volatile, (int)state);
}

static void check(const char *when)
{
	char text[120];

	snprintf(text, sizeof(text), "%s, step %u, write before %s", when,
		 t.step, os_fault_name(t.at));
	rig_compare(&t.rig, text);
	os_fault_pause(&t.rig.fault, true);
	prop_check_engine(t.rig.engine, text);
	os_fault_pause(&t.rig.fault, false);
	prop_check_tables(t.rig.engine);
}

/* The last steps: it merges again, with what was written. */
static void merge_again(void)
{
	enum tf_frame_state was =
		prop_frame_state(t.rig.engine, rig_page(&t.rig, PAGE));

	rig_fill(&t.rig, OTHER, t.content);
	rig_poke(&t.rig, OTHER, 100, 0x77);
	for (int i = 0; i < 3; i++)
		pass("afterwards");
	check("afterwards");
	if (was != TF_FRAME_COW)
		expect_state(PAGE, TF_FRAME_SHARED, "afterwards");
}

static void expect_bridge(void)
{
	struct tf_stats s = { .size = sizeof(s) };

	expect_state(PAGE, TF_FRAME_SHARED, "undisturbed");
	tf_engine_stats(t.rig.engine, &s);
	PROP_EXPECT(s.pages_bridged == 1, "the page is no bridge");
}

/* One run with the write before call `step`. False: there are not so many. */
static bool run_step(enum scene scene, unsigned step)
{
	struct tf_pass p = { .size = sizeof(p) };

	rig_open(&t.rig);
	t.rig.opts.scan_mode = TF_SCAN_DIRTY;
	t.step = step;
	t.met = t.behind_fence = false;
	prop_watchdog(20, "a write at a step of the fence");
	prepare(scene);
	os_fault_watch(&t.rig.fault, FAULT_ANY, touch_at_step, NULL);
	PROP_EXPECT(!tf_engine_pass(t.rig.engine, &p), "the pass failed");
	os_fault_unwatch(&t.rig.fault);
	if (t.met)
		prop_app_wait(&t.app, -1);
	else if (scene == BRIDGE)
		expect_bridge();
	if (t.met && !t.reads) {
		check("after the write");
		expect_seen(scene, p.pages_volatile);
		check("a pass later");
		merge_again();
	}
	rig_end(&t.rig);
	rig_compare(&t.rig, "after destroy");
	rig_close(&t.rig);
	return t.met;
}

static void all_steps(enum scene scene)
{
	unsigned step = 0, blocked = 0;

	while (run_step(scene, step)) {
		blocked += t.behind_fence;
		step++;
	}
	printf("scene %d, %s: %u steps, %u of them with the fence shut\n",
	       (int)scene, t.reads ? "reads" : "writes", step, blocked);
	PROP_EXPECT(blocked, "no fence was met");
}

/* ---- the window between map and protect ---- */

/* Protecting a slot's mapping comes right after making it. */
static void write_in_window(void *user, enum fault_kind kind, unsigned index)
{
	(void)user;
	(void)kind;
	(void)index;
	if (t.met || !prop_maps_store(rig_page(&t.rig, PAGE), TF_PAGE_SIZE))
		return;
	t.met = true;
	prop_app_run(&t.app, write_page, NULL);
}

enum end {
	DISCARD,
	UNMERGE,
	DELETE,
	DESTROY,
	ENDS
};

static void finish(enum end end)
{
	switch (end) {
	case DISCARD:
		PROP_EXPECT(!rig_discard(&t.rig, PAGE, 1), "discard failed");
		check("discarded");
		expect_state(PAGE, TF_FRAME_NONE, "discarded");
		break;
	case UNMERGE:
		PROP_EXPECT(!rig_unmerge(&t.rig, 0, 20), "unmerge failed");
		check("unmerged");
		expect_state(t.other, TF_FRAME_NEW, "unmerged");
		break;
	case DELETE:
		PROP_EXPECT(!tf_guest_del_memslot(t.rig.guest, 0),
			    "the memslot does not go");
		check("deleted");
		break;
	case DESTROY:
	case ENDS:
		break;
	}
}

static void run_window(enum scene scene, enum end end)
{
	rig_open(&t.rig);
	t.rig.opts.scan_mode = TF_SCAN_DIRTY;
	t.met = false;
	prop_watchdog(20, "a write between map and protect");
	prepare(scene);
	os_fault_watch(&t.rig.fault, FAULT_UFFD_PROTECT, write_in_window, NULL);
	pass("that is disturbed");
	os_fault_unwatch(&t.rig.fault);
	PROP_EXPECT(t.met, "the window was not met");
	check("after the write");
	expect_state(PAGE, TF_FRAME_COW, "after the write");
	rig_poke(&t.rig, PAGE, 200, 1);
	pass("after the window");
	check("a pass later");
	finish(end);
	rig_end(&t.rig);
	rig_compare(&t.rig, "after destroy");
	rig_close(&t.rig);
}

int main(void)
{
	struct tf_stats s = { .size = sizeof(s) };
	struct leak before;

	prop_begin("test_fence_steps");
	prop_app_start(&t.app);
	rig_open(&t.rig);
	PROP_EXPECT(!rig_start(&t.rig), "the engine does not start");
	tf_engine_stats(t.rig.engine, &s);
	rig_end(&t.rig);
	rig_close(&t.rig);
	if (!s.can_merge || !s.scan_dirty)
		prop_skip("needs UFFDIO_MOVE and PAGEMAP_SCAN (Linux 6.8)");
	leak_take(&before);
	for (int i = 0; i < 2 * SCENES; i++) {
		t.reads = i % 2;
		all_steps((enum scene)(i / 2));
	}
	for (enum end i = DISCARD; i < ENDS; i++) {
		run_window(PAIR, i);
		run_window(BRIDGE, i);
	}
	prop_check_held(&before, "at the end");
	prop_app_stop(&t.app);
	return 0;
}
