/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dense zero pages (engine/dense.c): every call of the kernel seam that the
 * pass makes fails once, in each way it can; and at every step another thread
 * writes to a zero page, writes to its neighbour, or reads one. No byte is
 * wrong, no write stays unseen, and what can merge merges later.
 *
 * ctest-timeout: 240
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/state.h"
#include "tests/lib/os_fault.h"
#include "tests/lib/prop.h"
#include "tests/lib/prop_app.h"
#include "tests/lib/prop_tables.h"

#define PAGES 140u /* every other one is zero; 128 go as a run */
#define BLOCK (2u << 20)
#define ZERO_PAGE 66u
#define OTHER_PAGE 67u
#define BLOCKED_MS 2

static struct test {
	struct os_fault fault;
	struct prop_app app;
	struct tf_engine *engine;
	struct tf_guest *guest;
	char *base, *ram;
	char shadow[PAGES][TF_PAGE_SIZE];
	unsigned step; /* touch before this one */
	enum fault_kind at;
	bool met, behind_fence, reads;
	bool again;    /* the pages between were hashed before */
	unsigned page; /* that is touched */
} t;

static char *page_at(unsigned page)
{
	return t.ram + (size_t)page * TF_PAGE_SIZE;
}

static void poke(unsigned page, unsigned offset, char value)
{
	t.shadow[page][offset] = value;
	*(volatile char *)(page_at(page) + offset) = value;
}

static void world_open(void)
{
	struct tf_guest_opts o = { .size = sizeof(o), .trust_domain = "dense" };
	struct tf_engine_opts opts;

	tf_engine_opts_init(&opts);
	opts.smart_scan = 0;
	opts.scan_mode = TF_SCAN_DIRTY;
	os_fault_init(&t.fault);
	t.base = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	PROP_EXPECT(t.base != MAP_FAILED, "no memory");
	madvise(t.base, 2 * BLOCK, MADV_NOHUGEPAGE);
	t.ram = (char *)(((uintptr_t)t.base + BLOCK - 1) &
			 ~(uintptr_t)(BLOCK - 1));
	memset(t.shadow, 0, sizeof(t.shadow));
	PROP_EXPECT(!tf_engine_create_os(&opts, &t.fault.os, &t.engine) &&
			    !tf_guest_create(t.engine, &o, &t.guest) &&
			    !tf_guest_add_memslot(t.guest, 0, 0, t.ram,
						  PAGES * TF_PAGE_SIZE),
		    "the engine does not start");
	for (unsigned i = 0; i < PAGES; i++) {
		poke(i, 0, 0);
		for (unsigned k = 0; i % 2 && k < 8; k++)
			poke(i, 64 + k, (char)(i * 7 + k + 1));
	}
}

static void compare(const char *when)
{
	for (unsigned i = 0; i < PAGES; i++)
		PROP_EXPECT(!memcmp(page_at(i), t.shadow[i], TF_PAGE_SIZE),
			    "%s, step %u (%s): page %u is wrong", when, t.step,
			    os_fault_name(t.at), i);
}

static void world_close(void)
{
	tf_engine_destroy(t.engine);
	compare("after destroy");
	os_fault_mend(&t.fault);
	munmap(t.base, 2 * BLOCK);
	pthread_mutex_destroy(&t.fault.lock);
}

static struct tf_pass pass(void)
{
	struct tf_pass p = { .size = sizeof(p) };

	PROP_EXPECT(!tf_engine_pass(t.engine, &p), "the pass failed");
	return p;
}

static uint64_t zero_pages(void)
{
	struct tf_stats s = { .size = sizeof(s) };

	PROP_EXPECT(!tf_engine_stats(t.engine, &s), "no statistics");
	return s.zero_pages;
}

static void check(const char *when)
{
	compare(when);
	os_fault_pause(&t.fault, true);
	prop_check_engine(t.engine, when);
	os_fault_pause(&t.fault, false);
	prop_check_tables(t.engine);
}

/* All zero pages become the zero page sooner or later; `but`: less this many
 * that were written. */
static void expect_merged(unsigned but)
{
	for (int i = 0; i < 3; i++)
		pass();
	check("afterwards");
	PROP_EXPECT(zero_pages() == PAGES / 2 - but,
		    "step %u (%s): %llu zero pages, not %u", t.step,
		    os_fault_name(t.at), (unsigned long long)zero_pages(),
		    PAGES / 2 - but);
}

static void undisturbed(void)
{
	struct tf_pass p;

	world_open();
	prop_watchdog(20, "dense zero pages");
	pass();
	p = pass();
	PROP_EXPECT(p.zero_merged == PAGES / 2, "%llu zero pages merged",
		    (unsigned long long)p.zero_merged);
	PROP_EXPECT(atomic_load(&t.fault.calls[FAULT_REMAP_AWAY]) == 1,
		    "they were not taken as a run");
	check("undisturbed");
	PROP_EXPECT(!prop_frame_pending(t.engine, page_at(OTHER_PAGE)),
		    "a page between them has no place");
	p = pass();
	PROP_EXPECT(!p.pages_volatile && !p.pages_hashed,
		    "pages around them count as written");
	world_close();
}

/* ---- a call fails ---- */

/* `kind`, its call number `at` in the pass that merges. False: there is none. */
static bool run_fault(enum fault_kind kind, unsigned at, enum fault_how how,
		      unsigned n)
{
	struct tf_pass p = { .size = sizeof(p) };
	unsigned failed;

	world_open();
	prop_watchdog(20, "a failing call");
	t.step = at;
	t.at = kind;
	pass();
	os_fault_set(&t.fault, kind, atomic_load(&t.fault.calls[kind]) + at, n,
		     ENOMEM, how);
	tf_engine_pass(t.engine, &p); /* may fail where the walker does */
	os_fault_clear(&t.fault);
	failed = atomic_load(&t.fault.failed);
	check("after a failure");
	if (failed)
		expect_merged(0);
	world_close();
	return failed;
}

static void all_faults(enum fault_kind kind, enum fault_how how, unsigned n)
{
	unsigned at = 0;

	while (run_fault(kind, at, how, n))
		at++;
	printf("%s fails, %u calls each: %u places\n", os_fault_name(kind), n,
	       at);
}

static void faults(void)
{
	static const struct {
		enum fault_kind kind;
		enum fault_how how;
	} way[] = {
		{ FAULT_REMAP_AWAY, FAULT_CLEAN },
		{ FAULT_REMAP_OVER, FAULT_CLEAN },
		{ FAULT_REMAP_OVER, FAULT_GONE },
		{ FAULT_DROP, FAULT_CLEAN },
		{ FAULT_ADVISE, FAULT_CLEAN },
		{ FAULT_UFFD_REGISTER, FAULT_CLEAN },
		{ FAULT_UFFD_PROTECT, FAULT_CLEAN },
		{ FAULT_UFFD_MOVE, FAULT_CLEAN },
		{ FAULT_UFFD_MOVE, FAULT_SHORT },
		{ FAULT_UFFD_MOVE, FAULT_DONE },
		{ FAULT_PAGEMAP_SCAN, FAULT_CLEAN },
		{ FAULT_MAP, FAULT_CLEAN },
	};

	static const unsigned calls[] = { 1, 2, FAULT_FOR_EVER };

	for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++)
		for (unsigned n = 0; n < 3; n++)
			all_faults(way[i].kind, way[i].how, calls[n]);
}

/* ---- somebody is there at every step ---- */

static void touch(void *arg)
{
	(void)arg;
	if (!t.reads)
		poke(t.page, 100, 0x77);
	else if (memcmp(page_at(t.page), t.shadow[t.page], TF_PAGE_SIZE) != 0)
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
	prop_app_begin(&t.app, touch, NULL);
	t.behind_fence = !prop_app_wait(&t.app, BLOCKED_MS);
}

/* A page that holds data is not the zero page in anybody's books, and its
 * twin finds it. */
static void expect_seen(void)
{
	pass();
	check("a pass later");
	PROP_EXPECT(prop_frame_state(t.engine, page_at(t.page)) !=
			    TF_FRAME_ZERO,
		    "step %u, before %s: written, and counted as zero", t.step,
		    os_fault_name(t.at));
	memcpy(t.shadow[1], t.shadow[t.page], TF_PAGE_SIZE);
	memcpy(page_at(1), page_at(t.page), TF_PAGE_SIZE);
	expect_merged(!(t.page % 2));
	PROP_EXPECT(prop_frame_state(t.engine, page_at(t.page)) ==
			    TF_FRAME_SHARED,
		    "step %u, before %s: its twin does not find it", t.step,
		    os_fault_name(t.at));
}

/* Up to the pass that takes the zero pages. */
static void prepare(void)
{
	world_open();
	if (t.again) {
		pass();
		pass();
		for (unsigned i = 0; i < PAGES; i += 2)
			poke(i, 0, 0);
	}
	pass();
}

static bool run_step(unsigned step)
{
	t.step = step;
	t.met = t.behind_fence = false;
	prop_watchdog(20, "somebody at a step");
	prepare();
	os_fault_watch(&t.fault, FAULT_ANY, touch_at_step, NULL);
	pass();
	os_fault_unwatch(&t.fault);
	if (t.met)
		prop_app_wait(&t.app, -1);
	check("after the touch");
	if (t.met && !t.reads)
		expect_seen();
	world_close();
	return t.met;
}

static void all_steps(unsigned page, bool reads, bool again)
{
	unsigned step = 0, blocked = 0;

	t.page = page;
	t.reads = reads;
	t.again = again;
	while (run_step(step)) {
		blocked += t.behind_fence;
		step++;
	}
	printf("page %u, %s%s: %u steps, %u of them with the fence shut\n",
	       page, reads ? "reads" : "writes", again ? " again" : "", step,
	       blocked);
	PROP_EXPECT(blocked, "no fence was met");
}

int main(void)
{
	struct tf_stats s = { .size = sizeof(s) };
	struct leak before;

	prop_begin("test_dense_steps");
	prop_app_start(&t.app);
	world_open();
	tf_engine_stats(t.engine, &s);
	world_close();
	if (!s.can_merge || !s.scan_dirty)
		prop_skip("needs UFFDIO_MOVE and PAGEMAP_SCAN (Linux 6.8)");
	leak_take(&before);
	undisturbed();
	faults();
	for (int again = 0; again < 2; again++) {
		all_steps(ZERO_PAGE, false, again);
		all_steps(OTHER_PAGE, false, again);
		all_steps(ZERO_PAGE, true, again);
		all_steps(OTHER_PAGE, true, again);
	}
	prop_check_held(&before, "at the end");
	prop_app_stop(&t.app);
	return 0;
}
