/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel writes to mergeable pages: direct reads from a file (pread,
 * io_uring, io_uring into registered buffers), buffered reads and
 * process_vm_writev, all at once, while passes run one after the other. Every
 * read is checked when it ends and again when its page comes round; between
 * the two the page may be merged.
 *
 * ctest-timeout: 300
 */
#include <stdio.h>

#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"
#include "lib/ring.h"

#define READERS 5
#define PAGES 512     /* of one reader */
#define REGISTERED 16 /* pages of a registered buffer */
#define DIRECT_READS 12000ul

struct reader {
	struct worker worker;
	struct load load;
	struct ring ring;
	const char *name;
	uint64_t target, reads;
};

/* One read to a page, and, sometimes, stores of the guest after it. */
static void read_once(struct reader *r, size_t page, uint64_t *rng)
{
	unsigned no = test_random(rng) % RING_BLOCKS;

	load_verify(&r->load, page);
	ring_read(&r->ring, load_page(&r->load, page), no);
	load_expect(&r->load, page, ring_block(no));
	r->reads++;
	if (test_random(rng) % 4 == 0)
		load_visit(&r->load, page, 1, rng);
}

/* In order, so that a page rests for as long as possible. */
static void read_loop(struct worker *me)
{
	struct reader *r = me->arg;

	for (size_t page = 0; !worker_stopped(me); page = (page + 1) % PAGES) {
		read_once(r, page, &me->rng);
		worker_step(me);
		if (r->reads == r->target)
			break;
	}
}

/*
 * Registering pins pages, shared ones too, which breaks them. They stay
 * pinned for three reads each.
 */
static void registered_loop(struct worker *me)
{
	struct reader *r = me->arg;
	size_t first = 0;

	for (; r->reads < r->target; first = (first + REGISTERED) % PAGES) {
		ring_register(&r->ring, load_page(&r->load, first),
			      REGISTERED * (size_t)TF_PAGE_SIZE);
		for (unsigned i = 0; i < 3 * REGISTERED; i++)
			read_once(r, first + i % REGISTERED, &me->rng);
		ring_unregister(&r->ring);
		worker_step(me);
	}
}

/* The direct readers end by themselves, the others when those have. */
static bool ends_by_itself(enum ring_way way)
{
	return way == RING_PREAD || way == RING_PLAIN || way == RING_REGISTERED;
}

static void start(struct reader *r, struct world *world, unsigned i,
		  const char *path, uint64_t target)
{
	static const char *const names[READERS] = {
		[RING_BUFFERED] = "read",
		[RING_PREAD] = "direct read",
		[RING_PLAIN] = "io_uring",
		[RING_REGISTERED] = "io_uring, registered",
		[RING_VM_WRITEV] = "process_vm_writev",
	};
	size_t bytes = PAGES * (size_t)TF_PAGE_SIZE;

	r->name = names[i];
	r->target = ends_by_itself(i) ? target : UINT64_MAX;
	r->reads = 0;
	load_init(&r->load, world->ram + i * bytes, PAGES);
	ring_open(&r->ring, path, i);
	worker_start(&r->worker, r->name,
		     i == RING_REGISTERED ? registered_loop : read_loop, r);
}

static void finish(struct reader *r)
{
	load_verify_all(&r->load);
	load_fini(&r->load);
	ring_close(&r->ring);
	printf("  %-22s %llu\n", r->name, (unsigned long long)r->reads);
}

static uint64_t read_all(struct world *world, const char *path, uint64_t target)
{
	struct reader reader[READERS];
	struct worker *watched[READERS + 1];
	uint64_t reads = 0;

	world_merge_start(world);
	for (unsigned i = 0; i < READERS; i++) {
		start(&reader[i], world, i, path, target);
		watched[i] = &reader[i].worker;
	}
	watched[READERS] = &world->merger;
	worker_watch(watched, READERS + 1);
	for (unsigned i = 0; i < READERS; i++)
		if (ends_by_itself(i))
			worker_join(&reader[i].worker);
	for (unsigned i = 0; i < READERS; i++)
		if (!ends_by_itself(i))
			worker_stop(&reader[i].worker);
	worker_unwatch();
	world_merge_stop(world);
	for (unsigned i = 0; i < READERS; i++) {
		reads += reader[i].reads;
		finish(&reader[i]);
	}
	return reads;
}

static void run(const char *what, const char *path, uint64_t target,
		uint64_t least)
{
	struct tf_engine_opts opts;
	struct world world;
	uint64_t reads;

	world_opts(&opts, 16);
	world_open(&world, (size_t)READERS * PAGES, &opts, NULL);
	reads = read_all(&world, path, target);
	world_report(&world, what, reads, least, least);
	world_close(&world);
}

int main(void)
{
	struct leak before;
	char *path;

	test_begin();
	path = ring_file_make();
	run("warm-up", path, 200, 0);
	leak_take(&before);
	run("reads into guest memory", path, test_scaled(DIRECT_READS),
	    test_scaled(5000));
	leak_check(&before);
	ring_file_remove(path);
	return 0;
}
