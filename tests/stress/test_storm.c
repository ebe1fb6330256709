/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A storm of memory errors, at random pages, while writers write, readers
 * verify, passes merge, and ranges are un-merged and discarded.
 *
 * The test keeps its own map: what each page holds is known under that page's
 * lock. A page whose content has another stable copy, or is zeros, heals and
 * nobody hears of it. A page whose content is nowhere else is one vMCE at its
 * address; then it is given up, as a guest does, and written anew.
 *
 * Zones are blocks of their own: contents with many copies, zeros, unique
 * pages, and contents of four pages that have a single stable copy.
 *
 * ctest-timeout: 240
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chain.h"
#include "engine/state.h"
#include "lib/leak.h"
#include "lib/load_world.h"
#include "ras/internal.h"
#include "twinfold/ras.h"

#define FAULTS 2000ul
#define SHARING 8 /* of one dup */

#define ZONE 512u  /* pages: one block */
#define MANY 1024u /* pages of the contents with many copies */
#define CONTENTS 16u
#define ZERO_AT MANY
#define UNIQUE_AT (ZERO_AT + ZONE)
#define LONE_AT (UNIQUE_AT + ZONE)
#define LONE_GROUPS (ZONE / 4)
#define PAGES (LONE_AT + ZONE)

#define WORDS (TF_PAGE / sizeof(uint64_t))

struct storm {
	struct world world;
	pthread_mutex_t lock[PAGES]; /* of a page, by rising number */
	char *shadow;                /* what it holds, under its lock */
	uint64_t fresh;              /* unique numbers, under atomics */
	struct worker faulter, writer[2], reader, unmerger, discarder, merger;
	uint64_t target;
	/* The faulter's. */
	uint64_t faults, healed, told, vmces;
	/* Each the one worker's. */
	uint64_t unmerges, refused, discards;
	atomic_ulong writes, reads;
};

/* A page as the engine sees it. */
struct look {
	unsigned state;
	unsigned twins; /* other healthy dups of its content */
};

static char *page_at(const struct storm *s, unsigned page)
{
	return s->world.ram + page * TF_PAGE;
}

static char *shadow_at(const struct storm *s, unsigned page)
{
	return s->shadow + page * TF_PAGE;
}

static void lock_pages(struct storm *s, unsigned page, unsigned n,
		       unsigned step)
{
	for (unsigned i = 0; i < n; i++)
		pthread_mutex_lock(&s->lock[page + i * step]);
}

static void unlock_pages(struct storm *s, unsigned page, unsigned n,
			 unsigned step)
{
	for (unsigned i = 0; i < n; i++)
		pthread_mutex_unlock(&s->lock[page + i * step]);
}

static void make_content(char *page, uint64_t no)
{
	for (unsigned i = 0; i < WORDS; i++)
		((uint64_t *)page)[i] =
			no ? no * UINT64_C(0x9e3779b97f4a7c15) + i : 0;
}

/* What the page is to return to. Caller holds its lock. */
static void fill(struct storm *s, unsigned page)
{
	uint64_t no = page % CONTENTS + 1;

	if (page >= LONE_AT)
		no = 1000 + page % LONE_GROUPS;
	else if (page >= UNIQUE_AT)
		no = 1000000 +
		     atomic_fetch_add_explicit((_Atomic uint64_t *)&s->fresh, 1,
					       memory_order_relaxed);
	else if (page >= ZERO_AT)
		no = 0;
	make_content(shadow_at(s, page), no);
	memcpy(page_at(s, page), shadow_at(s, page), TF_PAGE);
}

static bool is_right(const struct storm *s, unsigned page)
{
	return memcmp(page_at(s, page), shadow_at(s, page), TF_PAGE) == 0;
}

static void verify(const struct storm *s, unsigned page, const char *who)
{
	const uint64_t *is = (uint64_t *)page_at(s, page);

	if (!is_right(s, page))
		test_fail("%s: page %u has wrong bytes (%#llx, to be %#llx), "
			  "now %s",
			  who, page, (unsigned long long)is[0],
			  *(unsigned long long *)shadow_at(s, page),
			  is_right(s, page) ? "right" : "wrong still");
}

static void read_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (!worker_stopped(me)) {
		unsigned page = (unsigned)(test_random(&me->rng) % PAGES);

		lock_pages(s, page, 1, 1);
		verify(s, page, "a reader");
		unlock_pages(s, page, 1, 1);
		atomic_fetch_add(&s->reads, 1);
		worker_step(me);
	}
}

/* One word, and the next time the common content again. */
static void write_one(struct storm *s, unsigned page, uint64_t *rng)
{
	unsigned word = (unsigned)(test_random(rng) % WORDS);
	uint64_t value = test_random(rng);

	verify(s, page, "a writer, before");
	((uint64_t *)shadow_at(s, page))[word] = value;
	__atomic_store_n((uint64_t *)page_at(s, page) + word, value,
			 __ATOMIC_RELAXED);
	verify(s, page, "a writer, after");
	fill(s, page);
	verify(s, page, "a writer, at the end");
}

static void write_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (!worker_stopped(me)) {
		unsigned page = (unsigned)(test_random(&me->rng) % UNIQUE_AT);

		lock_pages(s, page, 1, 1);
		write_one(s, page, &me->rng);
		unlock_pages(s, page, 1, 1);
		atomic_fetch_add(&s->writes, 1);
		worker_step(me);
		if (test_random(&me->rng) % 4 == 0)
			test_nap(0.0005); /* most pages are to be merged */
	}
}

static void unmerge_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (!worker_stopped(me)) {
		unsigned page = (unsigned)(test_random(&me->rng) % (MANY - 8));
		unsigned n = 1 + (unsigned)(test_random(&me->rng) % 8);
		int err;

		lock_pages(s, page, n, 1);
		err = tf_guest_unmerge(s->world.guest, page * TF_PAGE,
				       n * TF_PAGE);
		/* A page of it may be lost just now. */
		CHECK(err == 0 || err == -EHWPOISON);
		for (unsigned i = page; i < page + n; i++)
			verify(s, i, "the un-merging thread");
		unlock_pages(s, page, n, 1);
		s->refused += err != 0;
		s->unmerges++;
		worker_step(me);
		test_nap(0.002);
	}
}

static void give_up(struct storm *s, unsigned page)
{
	CHECK(tf_guest_discard(s->world.guest, page * TF_PAGE, TF_PAGE) == 0);
	memset(shadow_at(s, page), 0, TF_PAGE);
	verify(s, page, "after a discard");
	fill(s, page);
}

static void discard_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (!worker_stopped(me)) {
		unsigned page = (unsigned)(test_random(&me->rng) % UNIQUE_AT);

		lock_pages(s, page, 1, 1);
		verify(s, page, "the discarding thread");
		give_up(s, page);
		unlock_pages(s, page, 1, 1);
		s->discards++;
		worker_step(me);
		test_nap(0.001);
	}
}

static void merge_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (!worker_stopped(me)) {
		world_passes(&s->world, 1);
		worker_step(me);
		test_nap(0.001); /* let the faulter have its turn */
	}
}

static struct look look_at(const struct storm *s, unsigned page)
{
	struct tf_engine *e = s->world.engine;
	char *addr = page_at(s, page);
	struct look l = { 0 };
	struct tf_region *r;
	struct tf_block *b;

	pthread_mutex_lock(&e->lock);
	r = tf_region_at(e, addr);
	b = tf_block_find(r, tf_region_block_of(r, addr));
	if (b) {
		const struct tf_frame *f =
			&b->frames[tf_region_page_of(r, addr)];
		uint32_t dup = f->shared.dup;

		l.state = f->state;
		if (l.state == TF_FRAME_SHARED)
			for (uint32_t id = tf_dup_get(e, dup)->next; id != dup;
			     id = tf_dup_get(e, id)->next)
				l.twins += !tf_dup_get(e, id)->bad;
	}
	pthread_mutex_unlock(&e->lock);
	return l;
}

/* Until the healer has answered everybody. */
static void settle(const struct storm *s)
{
	const struct tf_ras *ras = atomic_load(&s->world.engine->ras);

	for (unsigned i = 0; i < RAS_REQUESTS; i++)
		while (atomic_load(&ras->request[i].state) != REQUEST_FREE)
			sched_yield();
}

/* Every pending vMCE: of the page, or of those `step` apart from `first` that
 * the engine gave up too. Is the page's own among them? */
static bool take_vmces(struct storm *s, unsigned page, unsigned first,
		       unsigned n, unsigned step)
{
	struct tf_vmce v = { .size = sizeof(v) };
	uint8_t told[PAGES] = { 0 };

	while (!tf_ras_take_vmce(s->world.engine, 0, &v)) {
		CHECK(v.guest == s->world.guest && v.gpa % TF_PAGE == 0);
		CHECK(v.gpa / TF_PAGE < PAGES);
		CHECK(++told[v.gpa / TF_PAGE] == 1);
		s->vmces++;
	}
	for (unsigned i = 0; i < PAGES; i++) {
		bool may = i == page;

		for (unsigned k = 0; k < n; k++)
			may |= i == first + k * step &&
			       look_at(s, i).state == TF_FRAME_COW;
		if (told[i] && !may)
			test_fail("page %u was hit, and a vMCE for page %u "
				  "came",
				  page, i);
		if (i != page && may && !told[i])
			test_fail("page %u was lost with page %u, and no vMCE "
				  "came",
				  i, page);
	}
	return told[page];
}

/* What must have become of the page, and what has. A pass may have come
 * between a look and the fault: only what was so before and after counts. */
static void judge(const struct storm *s, unsigned page, struct look before,
		  struct look after, bool told)
{
	bool must_heal =
		before.state == after.state &&
		(before.state == TF_FRAME_ZERO ||
		 (before.state == TF_FRAME_SHARED && before.twins > 1));

	if (told && must_heal)
		test_fail("page %u was lost, though its content (state %u, %u "
			  "other copies) has a source",
			  page, before.state, before.twins);
	if (!told && page >= UNIQUE_AT && page < LONE_AT)
		test_fail("unique page %u was lost, and no vMCE came", page);
	if (!told)
		verify(s, page, "a healed page");
}

/* Lose a page, touch it, see what comes. Its locks are held. */
static void hit(struct storm *s, unsigned page, unsigned first, unsigned n,
		unsigned step)
{
	struct look before = look_at(s, page), after;
	bool told;

	/* All but one copy of a content with many may be broken just now. */
	if (page < MANY && before.state == TF_FRAME_SHARED && !before.twins)
		return;
	CHECK(tf_ras_inject(s->world.engine, s->world.guest, page * TF_PAGE,
			    TF_INJECT_SIM) == 0);
	after = look_at(s, page);
	(void)*(volatile const char *)page_at(s, page);
	settle(s);
	told = take_vmces(s, page, first, n, step);
	judge(s, page, before, after, told);
	if (told)
		for (unsigned i = 0; i < n; i++)
			give_up(s, first + i * step);
	s->faults++;
	s->told += told;
	s->healed += !told;
}

static void fault_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (s->faults < s->target) {
		unsigned zone = (unsigned)(test_random(&me->rng) % 20);
		unsigned at = (unsigned)(test_random(&me->rng) % ZONE);
		unsigned page = at, first, n = 1, step = 1;

		if (zone < 12)
			page += (zone & 1) * ZONE;
		else
			page += zone < 15 ? ZERO_AT :
				zone < 18 ? UNIQUE_AT :
					    LONE_AT;
		first = page;
		if (page >= LONE_AT) {
			first = LONE_AT + at % LONE_GROUPS;
			n = ZONE / LONE_GROUPS;
			step = LONE_GROUPS;
		}
		lock_pages(s, first, n, step);
		hit(s, page, first, n, step);
		unlock_pages(s, first, n, step);
		worker_step(me);
	}
}

static void storm_open(struct storm *s, uint64_t faults)
{
	struct tf_engine_opts opts;

	memset(s, 0, sizeof(*s));
	s->target = faults;
	world_opts(&opts, SHARING);
	opts.smart_scan = 0;
	opts.log = NULL;
	world_open(&s->world, PAGES, &opts, NULL);
	CHECK(tf_ras_install(s->world.engine, NULL) == 0);
	s->shadow = malloc(PAGES * TF_PAGE);
	CHECK(s->shadow);
	for (unsigned i = 0; i < PAGES; i++) {
		pthread_mutex_init(&s->lock[i], NULL);
		fill(s, i);
	}
	world_passes(&s->world, 4);
}

static void storm_close(struct storm *s)
{
	struct tf_stats stats;

	for (unsigned i = 0; i < PAGES; i++)
		verify(s, i, "at the end");
	settle(s);
	world_check(&s->world);
	world_stats(&s->world, &stats);
	CHECK(stats.vmces == s->vmces);
	CHECK(stats.unrecoverable == 0 && stats.transient_failed == 0);
	CHECK(s->healed >= s->faults / 4 && s->told >= s->faults / 20);
	printf("faults %llu: healed %llu (%llu from a fresh copy, %llu from "
	       "another), told %llu, vMCEs %llu; reads %lu, writes %lu, "
	       "un-merges %llu (%llu met a lost page), discards %llu; wrong "
	       "0, lost 0\n",
	       (unsigned long long)s->faults, (unsigned long long)s->healed,
	       (unsigned long long)stats.heals_fresh_copy,
	       (unsigned long long)stats.heals_existing_dup,
	       (unsigned long long)s->told, (unsigned long long)s->vmces,
	       atomic_load(&s->reads), atomic_load(&s->writes),
	       (unsigned long long)s->unmerges, (unsigned long long)s->refused,
	       (unsigned long long)s->discards);
	settle(s);
	world_close(&s->world);
	for (unsigned i = 0; i < PAGES; i++)
		pthread_mutex_destroy(&s->lock[i]);
	free(s->shadow);
}

static void run(uint64_t faults)
{
	static struct storm s;
	struct worker *watched[] = { &s.faulter, &s.writer[0], &s.writer[1],
				     &s.reader,  &s.unmerger,  &s.discarder,
				     &s.merger };
	const size_t n = sizeof(watched) / sizeof(*watched);

	storm_open(&s, faults);
	worker_start(&s.faulter, "the storm", fault_loop, &s);
	for (unsigned i = 0; i < 2; i++)
		worker_start(&s.writer[i], "a writer", write_loop, &s);
	worker_start(&s.reader, "the reader", read_loop, &s);
	worker_start(&s.unmerger, "the un-merging thread", unmerge_loop, &s);
	worker_start(&s.discarder, "the discarding thread", discard_loop, &s);
	worker_start(&s.merger, "the merging thread", merge_loop, &s);
	worker_watch(watched, n);
	worker_join(&s.faulter);
	for (size_t i = 1; i < n; i++)
		worker_stop(watched[i]);
	worker_unwatch();
	storm_close(&s);
}

int main(void)
{
	struct leak before;

	test_begin();
	run(20);
	leak_take(&before);
	run(test_scaled(FAULTS));
	leak_check(&before);
	return 0;
}
