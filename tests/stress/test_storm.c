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

#include "engine/state.h"
#include "lib/leak.h"
#include "lib/storm.h"
#include "ras/internal.h"
#include "twinfold/ras.h"

#define FAULTS 2000ul
#define SHARING 8 /* of one dup */

static void read_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (!worker_stopped(me)) {
		unsigned page = (unsigned)(test_random(&me->rng) % STORM_PAGES);

		storm_lock(s, page, 1, 1);
		storm_verify(s, page, "a reader");
		storm_unlock(s, page, 1, 1);
		atomic_fetch_add(&s->reads, 1);
		worker_step(me);
	}
}

/* One word, and the next time the common content again. */
static void write_one(struct storm *s, unsigned page, uint64_t *rng)
{
	unsigned word = (unsigned)(test_random(rng) % STORM_WORDS);
	uint64_t value = test_random(rng);

	storm_verify(s, page, "a writer, before");
	((uint64_t *)storm_shadow(s, page))[word] = value;
	__atomic_store_n((uint64_t *)storm_page(s, page) + word, value,
			 __ATOMIC_RELAXED);
	storm_verify(s, page, "a writer, after");
	storm_fill(s, page);
	storm_verify(s, page, "a writer, at the end");
}

static void write_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (!worker_stopped(me)) {
		unsigned page =
			(unsigned)(test_random(&me->rng) % STORM_UNIQUE_AT);

		storm_lock(s, page, 1, 1);
		write_one(s, page, &me->rng);
		storm_unlock(s, page, 1, 1);
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
		unsigned page =
			(unsigned)(test_random(&me->rng) % (STORM_MANY - 8));
		unsigned n = 1 + (unsigned)(test_random(&me->rng) % 8);
		int err;

		storm_lock(s, page, n, 1);
		err = tf_guest_unmerge(s->world.guest, page * TF_PAGE,
				       n * TF_PAGE);
		/* A page of it may be lost just now. */
		CHECK(err == 0 || err == -EHWPOISON);
		for (unsigned i = page; i < page + n; i++)
			storm_verify(s, i, "the un-merging thread");
		storm_unlock(s, page, n, 1);
		s->refused += err != 0;
		s->unmerges++;
		worker_step(me);
		test_nap(0.002);
	}
}

static void give_up(struct storm *s, unsigned page)
{
	CHECK(tf_guest_discard(s->world.guest, page * TF_PAGE, TF_PAGE) == 0);
	memset(storm_shadow(s, page), 0, TF_PAGE);
	storm_verify(s, page, "after a discard");
	storm_fill(s, page);
}

static void discard_loop(struct worker *me)
{
	struct storm *s = me->arg;

	while (!worker_stopped(me)) {
		unsigned page =
			(unsigned)(test_random(&me->rng) % STORM_UNIQUE_AT);

		storm_lock(s, page, 1, 1);
		storm_verify(s, page, "the discarding thread");
		give_up(s, page);
		storm_unlock(s, page, 1, 1);
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
	uint8_t told[STORM_PAGES] = { 0 };

	while (!tf_ras_take_vmce(s->world.engine, 0, &v)) {
		CHECK(v.guest == s->world.guest && v.gpa % TF_PAGE == 0);
		CHECK(v.gpa / TF_PAGE < STORM_PAGES);
		CHECK(++told[v.gpa / TF_PAGE] == 1);
		s->vmces++;
	}
	for (unsigned i = 0; i < STORM_PAGES; i++) {
		bool may = i == page;

		for (unsigned k = 0; k < n; k++)
			may |= i == first + k * step &&
			       storm_look(s, i).state == TF_FRAME_COW;
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
static void judge(const struct storm *s, unsigned page,
		  struct storm_look before, struct storm_look after, bool told)
{
	bool must_heal =
		before.state == after.state &&
		(before.state == TF_FRAME_ZERO ||
		 (before.state == TF_FRAME_SHARED && before.twins > 1));

	if (told && must_heal)
		test_fail("page %u was lost, though its content (state %u, %u "
			  "other copies) has a source",
			  page, before.state, before.twins);
	if (!told && page >= STORM_UNIQUE_AT && page < STORM_LONE_AT)
		test_fail("unique page %u was lost, and no vMCE came", page);
	if (!told)
		storm_verify(s, page, "a healed page");
}

/* Lose a page, touch it, see what comes. Its locks are held. */
static void hit(struct storm *s, unsigned page, unsigned first, unsigned n,
		unsigned step)
{
	struct storm_look before = storm_look(s, page), after;
	bool told;

	/* All but one copy of a content with many may be broken just now. */
	if (page < STORM_MANY && before.state == TF_FRAME_SHARED &&
	    !before.twins)
		return;
	CHECK(tf_ras_inject(s->world.engine, s->world.guest, page * TF_PAGE,
			    TF_INJECT_SIM) == 0);
	after = storm_look(s, page);
	(void)*(volatile const char *)storm_page(s, page);
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
		unsigned at = (unsigned)(test_random(&me->rng) % STORM_ZONE);
		unsigned page = at, first, n = 1, step = 1;

		if (zone < 12)
			page += (zone & 1) * STORM_ZONE;
		else
			page += zone < 15 ? STORM_ZERO_AT :
				zone < 18 ? STORM_UNIQUE_AT :
					    STORM_LONE_AT;
		first = page;
		if (page >= STORM_LONE_AT) {
			first = STORM_LONE_AT + at % STORM_LONE_GROUPS;
			n = STORM_ZONE / STORM_LONE_GROUPS;
			step = STORM_LONE_GROUPS;
		}
		storm_lock(s, first, n, step);
		hit(s, page, first, n, step);
		storm_unlock(s, first, n, step);
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
	world_open(&s->world, STORM_PAGES, &opts, NULL);
	CHECK(tf_ras_install(s->world.engine, NULL) == 0);
	s->shadow = malloc(STORM_PAGES * TF_PAGE);
	CHECK(s->shadow);
	for (unsigned i = 0; i < STORM_PAGES; i++) {
		pthread_mutex_init(&s->lock[i], NULL);
		storm_fill(s, i);
	}
	world_passes(&s->world, 4);
}

static void storm_close(struct storm *s)
{
	struct tf_stats stats;

	for (unsigned i = 0; i < STORM_PAGES; i++)
		storm_verify(s, i, "at the end");
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
	for (unsigned i = 0; i < STORM_PAGES; i++)
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
