/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads write to mergeable pages while passes run one after the other.
 * Every page has an owner who knows its bytes; every write is read back, and
 * read again when the owner comes by the next time.
 *
 * ctest-timeout: 240
 */
#include <stdio.h>

#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"

#define WRITERS 3
#define PAGES 2048 /* of one writer */
#define WINDOW 128
#define WRITES 40000000ul
#define PATIENCE 60.0

struct writer {
	struct worker worker;
	struct world *world;
	struct load load;
	atomic_ulong writes; /* load.writes, for others to see */
};

/*
 * A writer works in a window of pages, at full speed, and moves on when a pass
 * has ended: what it leaves behind settles and merges, what it comes to is
 * shared. Visits are of many stores or of a single one: the shortest way to
 * meet a fence.
 */
static void write_loop(struct worker *me)
{
	struct writer *w = me->arg;
	unsigned long passes = 0;
	size_t window = 0;

	while (!worker_stopped(me)) {
		size_t page = window + test_random(&me->rng) % WINDOW;
		unsigned stores = test_random(&me->rng) % 4 ? 32 : 1;

		load_visit(&w->load, page, stores, &me->rng);
		atomic_store(&w->writes, w->load.writes);
		worker_step(me);
		if (passes == atomic_load(&w->world->merger.steps))
			continue;
		passes = atomic_load(&w->world->merger.steps);
		window = (window + WINDOW) % PAGES;
	}
}

static bool enough(struct world *world, struct writer *writer, uint64_t target,
		   uint64_t breaks)
{
	struct tf_stats s;
	uint64_t writes = 0;

	world_stats(world, &s);
	for (unsigned i = 0; i < WRITERS; i++)
		writes += atomic_load(&writer[i].writes);
	return writes >= target && s.breaks + s.breaks_ahead >= breaks;
}

/* Until there were `target` writes and `breaks` breaks, or it takes too long;
 * then the report says what is missing. */
static uint64_t write_all(struct world *world, uint64_t target, uint64_t breaks)
{
	struct writer writer[WRITERS] = { 0 };
	struct worker *watched[WRITERS + 1] = { &world->merger };
	double end = test_now() + PATIENCE;
	uint64_t writes = 0;

	for (unsigned i = 0; i < WRITERS; i++) {
		load_init(&writer[i].load,
			  world->ram + i * PAGES * (size_t)TF_PAGE_SIZE, PAGES);
		writer[i].world = world;
		watched[i + 1] = &writer[i].worker;
	}
	world_merge_start(world);
	for (unsigned i = 0; i < WRITERS; i++)
		worker_start(&writer[i].worker, "a writer", write_loop,
			     &writer[i]);
	worker_watch(watched, WRITERS + 1);
	while (!enough(world, writer, target, breaks) && test_now() < end)
		test_nap(0.01);
	for (unsigned i = 0; i < WRITERS; i++)
		worker_stop(&writer[i].worker);
	worker_unwatch();
	world_merge_stop(world);
	for (unsigned i = 0; i < WRITERS; i++) {
		load_verify_all(&writer[i].load);
		writes += writer[i].load.writes;
		load_fini(&writer[i].load);
	}
	return writes;
}

/* What a process without CAP_SYS_ADMIN reads: no swap entries. */
static long unprivileged_read(const struct tf_os *os, int fd, const void *addr,
			      uint64_t *entries, size_t n)
{
	long got = tf_os_linux.pagemap_read(os, fd, addr, entries, n);

	for (long i = 0; i < got; i++)
		entries[i] &= ~((UINT64_C(1) << 55) - 1);
	return got;
}

static void run(const char *what, uint64_t target, enum tf_scan_mode mode,
		uint64_t least, const struct tf_os *os)
{
	struct tf_engine_opts opts;
	struct world world;
	uint64_t writes;

	world_opts(&opts, 16);
	opts.scan_mode = mode;
	world_open(&world, (size_t)WRITERS * PAGES, &opts, os);
	writes = write_all(&world, target, least);
	CHECK(writes >= target);
	world_report(&world, what, writes, least, least);
	world_close(&world);
}

int main(void)
{
	struct tf_os unprivileged = tf_os_linux;
	struct leak before;

	unprivileged.pagemap_read = unprivileged_read;
	test_begin();
	run("warm-up", 100000, TF_SCAN_AUTO, 0, NULL);
	leak_take(&before);
	run("written-since tracking", test_scaled(WRITES), TF_SCAN_AUTO,
	    test_scaled(20000), NULL);
	run("unprivileged", test_scaled(WRITES / 20), TF_SCAN_AUTO,
	    test_scaled(1000), &unprivileged);
	run("hashing", test_scaled(WRITES / 20), TF_SCAN_HASH,
	    test_scaled(1000), NULL);
	leak_check(&before);
	return 0;
}
