/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writers at full speed on unique pages that become bridges (engine/bridge.c):
 * a write meets the fence, the instant between mapping and protecting, or the
 * bridge itself. Every page has an owner who knows its bytes; every store is
 * read back, and all pages are read again at the end of a round.
 *
 * ctest-timeout: 240
 */
#include <stdio.h>

#include "engine/state.h"
#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"

#define WRITERS 2
#define FIRST 64 /* pages that come again on the road */
#define PAGES (3 * FIRST)
#define ROUNDS 400ul
#define PATIENCE 60.0

struct owner {
	struct worker worker;
	struct world *world;
	struct load load;
	atomic_ulong rounds;
	uint64_t contents; /* numbers of contents that were used */
	unsigned no;
};

static size_t lone_page(uint64_t random)
{
	return FIRST + 2 * (random % FIRST) + 1;
}

/* Contents [1, FIRST] of this round, then the same with a unique page behind
 * each. */
static void lay_road(struct owner *o)
{
	uint64_t base = o->contents * WRITERS + o->no + LOAD_CONTENTS;

	for (unsigned i = 0; i < FIRST; i++) {
		unsigned no = (unsigned)(base + (uint64_t)WRITERS * i);

		load_common(&o->load, i, no);
		load_common(&o->load, FIRST + 2ul * i, no);
		load_common(&o->load, lone_page(i), no + WRITERS * FIRST);
	}
	o->contents += 2 * FIRST;
}

/* All broken bridges are to be forgotten, or there would be no more. */
static void trust(const struct world *w)
{
	pthread_mutex_lock(&w->engine->lock);
	w->guest->bridges = (struct tf_bridges){ 0 };
	pthread_mutex_unlock(&w->engine->lock);
}

/* Until a pass or two have ended, and a moment more. */
static void let_it_merge(struct worker *me, const struct owner *o)
{
	const atomic_ulong *passes = &o->world->merger.steps;
	unsigned long until =
		atomic_load(passes) + 2 + test_random(&me->rng) % 2;

	while (atomic_load(passes) < until && !worker_stopped(me)) {
		trust(o->world);
		test_nap(0.0001);
	}
	test_nap((double)(test_random(&me->rng) % 64) * 20e-6);
}

static void write_loop(struct worker *me)
{
	struct owner *o = me->arg;

	while (!worker_stopped(me)) {
		/* No pass while it is laid: it is to settle all at once. */
		pthread_mutex_lock(&o->world->engine->pass_lock);
		lay_road(o);
		pthread_mutex_unlock(&o->world->engine->pass_lock);
		/* What broke is in one mapping again: else it is no bridge. */
		CHECK(!tf_guest_unmerge(o->world->guest,
					o->no * PAGES * (uint64_t)TF_PAGE_SIZE,
					PAGES * (size_t)TF_PAGE_SIZE));
		let_it_merge(me, o);
		for (unsigned i = 0; i < 8 * FIRST; i++) {
			uint64_t r = test_random(&me->rng);

			load_store(&o->load, lone_page(r), r >> 32 & 511);
		}
		load_verify_all(&o->load);
		atomic_fetch_add(&o->rounds, 1);
		worker_step(me);
	}
}

struct scene {
	struct world world;
	struct owner owner[WRITERS];
};

static void scene_open(struct scene *s, enum tf_scan_mode mode)
{
	struct tf_engine_opts opts;

	*s = (struct scene){ 0 };
	world_opts(&opts, 256);
	opts.scan_mode = mode;
	opts.smart_scan = 0;
	world_open(&s->world, (size_t)WRITERS * PAGES, &opts, NULL);
	for (unsigned i = 0; i < WRITERS; i++) {
		s->owner[i].world = &s->world;
		s->owner[i].no = i;
		load_init(&s->owner[i].load,
			  s->world.ram + i * PAGES * (size_t)TF_PAGE_SIZE,
			  PAGES);
	}
}

static uint64_t rounds_of(struct scene *s)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < WRITERS; i++)
		sum += atomic_load(&s->owner[i].rounds);
	return sum;
}

static void write_and_merge(struct scene *s, uint64_t rounds)
{
	struct worker *watched[WRITERS + 1] = { &s->world.merger };
	double end = test_now() + PATIENCE;

	world_merge_start(&s->world);
	for (unsigned i = 0; i < WRITERS; i++) {
		watched[i + 1] = &s->owner[i].worker;
		worker_start(&s->owner[i].worker, "a writer", write_loop,
			     &s->owner[i]);
	}
	worker_watch(watched, WRITERS + 1);
	while (rounds_of(s) < rounds && test_now() < end)
		test_nap(0.01);
	for (unsigned i = 0; i < WRITERS; i++)
		worker_stop(&s->owner[i].worker);
	worker_unwatch();
	world_merge_stop(&s->world);
}

static void run(const char *what, uint64_t rounds, enum tf_scan_mode mode,
		uint64_t least)
{
	uint64_t writes = 0, done;
	struct scene s;

	scene_open(&s, mode);
	write_and_merge(&s, rounds);
	done = rounds_of(&s);
	for (unsigned i = 0; i < WRITERS; i++) {
		load_verify_all(&s.owner[i].load);
		writes += s.owner[i].load.writes;
		load_fini(&s.owner[i].load);
	}
	printf("%llu rounds, %llu bridges\n", (unsigned long long)done,
	       (unsigned long long)s.world.sum.bridged);
	world_report(&s.world, what, writes, done, done);
	CHECK(done >= rounds);
	CHECK(s.world.sum.bridged >= least);
	world_close(&s.world);
}

int main(void)
{
	struct leak before;

	test_begin();
	run("warm-up", 2, TF_SCAN_AUTO, 0);
	leak_take(&before);
	run("written-since tracking", test_scaled(ROUNDS), TF_SCAN_AUTO,
	    test_scaled(ROUNDS));
	run("hashing", test_scaled(ROUNDS) / 4, TF_SCAN_HASH,
	    test_scaled(ROUNDS) / 4);
	leak_check(&before);
	return 0;
}
