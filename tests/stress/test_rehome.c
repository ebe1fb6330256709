/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writers on shared frames at full speed, while the same frames are moved to
 * other dups of their chain, and to fresh ones; while ranges are un-merged;
 * and while a third part of RAM is discarded. Passes merge all of it again,
 * and leave nothing out once it is quiet.
 *
 * ctest-timeout: 240
 */
#include <stdio.h>

#include "engine/breaks.h"
#include "engine/chain.h"
#include "engine/state.h"
#include "engine/store.h"
#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"

#define WRITERS 2
#define PAGES 512 /* of one writer: one block */
#define WINDOW 16
#define REHOMES 40000ul
#define QUIET_PASSES 8u

struct writer {
	struct worker worker;
	struct load load;
};

struct scene {
	struct world world;
	struct writer writer[WRITERS];
	struct worker rehomer, unmerger, discarder;
	struct load discarded; /* the last block's pages, the discarder's own */
	uint64_t target;
	uint64_t rehomed, fresh, copied;
	_Atomic uint64_t unmerges, discards;
};

/* A window at a time, as in test_writers, so that frames are shared when the
 * writer comes. */
static void write_loop(struct worker *me)
{
	struct writer *w = me->arg;
	size_t window = 0;

	for (uint64_t i = 0; !worker_stopped(me); i++) {
		size_t page = window + test_random(&me->rng) % WINDOW;

		load_visit(&w->load, page, 1 + i % 4, &me->rng);
		worker_step(me);
		if (i % WINDOW == 0)
			window = (window + WINDOW) % PAGES;
	}
}

/* A fresh dup of the same content, as healing makes one. 0: none. */
static uint32_t fresh_dup(struct tf_engine *e, const struct tf_dup *d)
{
	uint32_t slot, id;

	if (tf_slot_alloc(d->store, &slot))
		return 0;
	CHECK(e->os->write_at(e->os, d->store->fd,
			      tf_slot_bytes(d->store, d->slot), TF_PAGE,
			      (uint64_t)slot * TF_PAGE) == (long)TF_PAGE);
	CHECK(tf_dup_create(d->store, d->hash, slot, &id) == 0);
	return id;
}

/* Caller holds the engine's lock. */
static void rehome_one(struct scene *s, struct tf_block *b, unsigned page)
{
	struct tf_engine *e = s->world.engine;
	const struct tf_dup *d;
	uint32_t id;

	if (b->frames[page].state != TF_FRAME_SHARED)
		return;
	d = tf_dup_get(e, b->frames[page].shared.dup);
	id = d->next;
	if (id == b->frames[page].shared.dup ||
	    !tf_dup_has_room(e, tf_dup_get(e, id))) {
		id = fresh_dup(e, d);
		s->fresh++;
	}
	CHECK(id && tf_dup_reserve(e, id) == 0);
	CHECK(tf_rehome(b, page, id) == 0);
	s->rehomed++;
	s->copied += b->frames[page].state == TF_FRAME_COW;
}

static void rehome_loop(struct worker *me)
{
	struct scene *s = me->arg;
	struct tf_engine *e = s->world.engine;
	uint64_t breaks = 0;

	/* On a busy machine the others may not have had a turn yet. */
	while (s->rehomed < s->target || !s->unmerges || !s->discards ||
	       breaks < s->target / 100 || s->world.merged < s->target / 20) {
		char *addr = s->world.ram + test_random(&me->rng) %
						    (WRITERS * PAGES) * TF_PAGE;
		struct tf_region *r;
		struct tf_block *b;

		pthread_mutex_lock(&e->lock);
		r = tf_region_at(e, addr);
		b = tf_block_find(r, tf_region_block_of(r, addr));
		if (b)
			rehome_one(s, b, tf_region_page_of(r, addr));
		breaks = e->n.breaks;
		pthread_mutex_unlock(&e->lock);
		worker_step(me);
	}
}

static void unmerge_loop(struct worker *me)
{
	struct scene *s = me->arg;

	while (!worker_stopped(me)) {
		uint64_t page = test_random(&me->rng) % (WRITERS * PAGES - 8);
		size_t n = 1 + test_random(&me->rng) % 8;

		CHECK(tf_guest_unmerge(s->world.guest, page * TF_PAGE,
				       n * TF_PAGE) == 0);
		s->unmerges++;
		worker_step(me);
		test_nap(0.0005);
	}
}

static const char zeros[TF_PAGE];

/* Discard, check that it reads as zeros, and give it contents again. */
static void discard_loop(struct worker *me)
{
	struct scene *s = me->arg;
	uint64_t gpa = (uint64_t)(s->discarded.ram - s->world.ram);

	while (!worker_stopped(me)) {
		size_t page = test_random(&me->rng) % (PAGES - 4);
		size_t n = 1 + test_random(&me->rng) % 4;

		for (size_t i = page; i < page + n; i++)
			load_verify(&s->discarded, i);
		CHECK(tf_guest_discard(s->world.guest, gpa + page * TF_PAGE,
				       n * TF_PAGE) == 0);
		for (size_t i = page; i < page + n; i++) {
			load_expect(&s->discarded, i, zeros);
			load_visit(&s->discarded, i, i % 3, &me->rng);
		}
		s->discards++;
		worker_step(me);
		test_nap(0.0002);
	}
}

static void start(struct scene *s)
{
	for (unsigned i = 0; i < WRITERS; i++)
		load_init(&s->writer[i].load,
			  s->world.ram + i * PAGES * (size_t)TF_PAGE, PAGES);
	load_init(&s->discarded,
		  s->world.ram + WRITERS * PAGES * (size_t)TF_PAGE, PAGES);
	world_merge_start(&s->world);
	for (unsigned i = 0; i < WRITERS; i++)
		worker_start(&s->writer[i].worker, "a writer", write_loop,
			     &s->writer[i]);
	worker_start(&s->rehomer, "the re-homing thread", rehome_loop, s);
	worker_start(&s->unmerger, "the un-merging thread", unmerge_loop, s);
	worker_start(&s->discarder, "the discarding thread", discard_loop, s);
}

/* How much merges in a race depends on who gets the CPU. What must not is that
 * no opportunity gets lost: when nobody writes any more, all equal pages
 * merge. */
static void expect_merged(struct scene *s)
{
	const struct load *const loads[] = { &s->writer[0].load,
					     &s->writer[1].load,
					     &s->discarded };
	const size_t n = sizeof(loads) / sizeof(*loads);
	size_t left = world_unmerged(&s->world, loads, n);

	for (unsigned i = 0; i < QUIET_PASSES && left; i++) {
		world_passes(&s->world, 1);
		left = world_unmerged(&s->world, loads, n);
	}
	if (left)
		test_fail("%zu pages have an equal, and do not merge", left);
}

static uint64_t finish(struct scene *s)
{
	uint64_t writes = s->discarded.writes;

	expect_merged(s);
	for (unsigned i = 0; i < WRITERS; i++) {
		load_verify_all(&s->writer[i].load);
		writes += s->writer[i].load.writes;
		load_fini(&s->writer[i].load);
	}
	load_verify_all(&s->discarded);
	load_fini(&s->discarded);
	return writes;
}

static uint64_t race(struct scene *s)
{
	struct worker *watched[] = {
		&s->rehomer,      &s->unmerger,         &s->discarder,
		&s->world.merger, &s->writer[0].worker, &s->writer[1].worker
	};

	start(s);
	worker_watch(watched, sizeof(watched) / sizeof(*watched));
	worker_join(&s->rehomer);
	worker_stop(&s->unmerger);
	worker_stop(&s->discarder);
	for (unsigned i = 0; i < WRITERS; i++)
		worker_stop(&s->writer[i].worker);
	worker_unwatch();
	world_merge_stop(&s->world);
	return finish(s);
}

static void run(const char *what, uint64_t rehomes)
{
	struct tf_engine_opts opts;
	struct scene s = { .target = rehomes };
	uint64_t writes;

	world_opts(&opts, 8);
	opts.smart_scan = 0;
	world_open(&s.world, (WRITERS + 1) * (size_t)PAGES, &opts, NULL);
	writes = race(&s);
	printf("re-homed %llu (%llu to fresh dups, %llu copied meanwhile), "
	       "un-merged %llu ranges, discarded %llu\n",
	       (unsigned long long)s.rehomed, (unsigned long long)s.fresh,
	       (unsigned long long)s.copied, (unsigned long long)s.unmerges,
	       (unsigned long long)s.discards);
	world_report(&s.world, what, writes, rehomes / 20, rehomes / 100);
	CHECK(s.unmerges && s.discards);
	world_close(&s.world);
}

int main(void)
{
	struct leak before;

	test_begin();
	run("warm-up", 200);
	leak_take(&before);
	run("re-homing", test_scaled(REHOMES));
	leak_check(&before);
	return 0;
}
