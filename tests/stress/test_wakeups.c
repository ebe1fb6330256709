/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nobody sleeps for ever. Threads read and write pages at random, all of them
 * holes, zero pages or shared pages of blocks that are being fenced, armed,
 * plugged, discarded and taken away. Whoever makes no progress for ten seconds
 * ends the test with the place where it sleeps.
 *
 * ctest-timeout: 240
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/fence.h"
#include "engine/os_linux.h"
#include "engine/state.h"
#include "lib/leak.h"
#include "lib/load_world.h"

#define BLOCKS 48u
#define BLOCK_PAGES 512u
#define SLOT_BLOCKS 4u /* of the memslot that comes and goes */
#define TOUCHED 8u     /* pages of a block that are touched */
#define TOUCHERS 3u
#define FENCES 100000ul

static atomic_ulong fences;
static const char *staging; /* where a fence moves its pages to */

/* Every fence that closes moves pages into the staging area. */
static long count_move(const struct tf_os *os, int uffd, void *to, void *from,
		       size_t len)
{
	const char *at = to;

	if (at >= staging && at < staging + TF_STAGE_PAGES * TF_PAGE)
		atomic_fetch_add(&fences, 1);
	return tf_linux_uffd_move(os, uffd, to, from, len);
}

struct scene {
	struct world world;
	struct worker toucher[TOUCHERS], discarder, comer;
	uint64_t target;
	uint64_t discards, comings;
};

static char *some_page(struct scene *s, uint64_t *rng)
{
	size_t block = test_random(rng) % (BLOCKS + SLOT_BLOCKS);
	size_t page = test_random(rng) % TOUCHED * (BLOCK_PAGES / TOUCHED);

	return s->world.ram + (block * BLOCK_PAGES + page) * TF_PAGE;
}

/*
 * The pages belong to nobody, so what is read there is not checked, only that
 * the read comes back. Writes are mostly zeros: zero pages again in a moment.
 */
static void touch_loop(struct worker *me)
{
	struct scene *s = me->arg;

	while (!worker_stopped(me)) {
		char *p = some_page(s, &me->rng);

		if (test_random(&me->rng) % 2)
			__atomic_load_n(p, __ATOMIC_RELAXED);
		else
			__atomic_store_n(p, test_random(&me->rng) % 16 == 0,
					 __ATOMIC_RELAXED);
		worker_step(me);
	}
}

/* Holes in armed blocks: by the engine, and behind its back. */
static void discard_loop(struct worker *me)
{
	struct scene *s = me->arg;

	while (!worker_stopped(me)) {
		char *p = some_page(s, &me->rng);
		size_t off = (size_t)(p - s->world.ram);

		if (off >= BLOCKS * BLOCK_PAGES * TF_PAGE)
			continue;
		if (s->discards++ % 4)
			CHECK(tf_guest_discard(s->world.guest, off, TF_PAGE) ==
			      0);
		else
			madvise(p, TF_PAGE, MADV_DONTNEED);
		worker_step(me);
		test_nap(0.0001);
	}
}

/* A page that the kernel copied in the instant of its merge stays a mapping of
 * the store (tf_guest_del_memslot() says so), and is not taken again: the one
 * reason for which this memory may be refused. */
static bool holds_store_page(const char *at, size_t bytes)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	bool found = false;
	char line[512];

	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, "twinfold-store") &&
			 sscanf(line, "%lx-%lx", &from, &to) == 2 &&
			 from >= (uintptr_t)at && to <= (uintptr_t)at + bytes;
	fclose(f);
	return found;
}

static void renew_memory(char *at, size_t bytes)
{
	CHECK(mmap(at, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
	CHECK(madvise(at, bytes, MADV_NOHUGEPAGE) == 0);
}

/* Register, arm, unregister: a memslot comes and goes. */
static void come_and_go(struct worker *me)
{
	struct scene *s = me->arg;
	size_t off = BLOCKS * BLOCK_PAGES * TF_PAGE;
	size_t bytes = SLOT_BLOCKS * BLOCK_PAGES * TF_PAGE;

	while (!worker_stopped(me)) {
		int err = tf_guest_add_memslot(s->world.guest, 1, off,
					       s->world.ram + off, bytes);

		if (err == -EOPNOTSUPP) {
			CHECK(holds_store_page(s->world.ram + off, bytes));
			renew_memory(s->world.ram + off, bytes);
			continue;
		}
		CHECK(err == 0);
		test_nap(0.01);
		CHECK(tf_guest_del_memslot(s->world.guest, 1) == 0);
		madvise(s->world.ram + off, bytes, MADV_DONTNEED);
		s->comings++;
		worker_step(me);
	}
}

static void scene_open(struct scene *s)
{
	static struct tf_os os;
	struct tf_engine_opts opts;
	size_t pages = (BLOCKS + SLOT_BLOCKS) * (size_t)BLOCK_PAGES;

	world_opts(&opts, 64);
	opts.smart_scan = 0;
	os = tf_os_linux;
	os.uffd_move = count_move;
	world_open(&s->world, pages, &opts, &os);
	CHECK(tf_guest_del_memslot(s->world.guest, 0) == 0);
	CHECK(tf_guest_add_memslot(s->world.guest, 0, 0, s->world.ram,
				   BLOCKS * BLOCK_PAGES * TF_PAGE) == 0);
	staging = s->world.engine->staging;
	atomic_store(&fences, 0);
}

static void race(struct scene *s)
{
	struct worker *watched[TOUCHERS + 3];
	unsigned n = 0;

	world_merge_start(&s->world);
	watched[n++] = &s->world.merger;
	for (unsigned i = 0; i < TOUCHERS; i++) {
		worker_start(&s->toucher[i], "a touching thread", touch_loop,
			     s);
		watched[n++] = &s->toucher[i];
	}
	worker_start(&s->discarder, "the discarding thread", discard_loop, s);
	watched[n++] = &s->discarder;
	worker_start(&s->comer, "the thread of memslots", come_and_go, s);
	watched[n++] = &s->comer;
	worker_watch(watched, n);
	while (atomic_load(&fences) < s->target)
		test_nap(0.01);
	for (unsigned i = 0; i < TOUCHERS; i++)
		worker_stop(&s->toucher[i]);
	worker_stop(&s->discarder);
	worker_stop(&s->comer);
	worker_unwatch();
	world_merge_stop(&s->world);
}

static void run(uint64_t target)
{
	struct scene s = { .target = target };
	uint64_t touches = 0;

	scene_open(&s);
	race(&s);
	for (unsigned i = 0; i < TOUCHERS; i++)
		touches += atomic_load(&s.toucher[i].steps);
	printf("%lu fences, %llu touches, %llu discards, memslot came and went "
	       "%llu times, nobody left asleep\n",
	       atomic_load(&fences), (unsigned long long)touches,
	       (unsigned long long)s.discards, (unsigned long long)s.comings);
	CHECK(s.discards && s.comings);
	world_close(&s.world);
}

int main(void)
{
	struct leak before;

	test_begin();
	run(500);
	leak_take(&before);
	run(test_scaled(FENCES));
	leak_check(&before);
	return 0;
}
