/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dense zero pages are taken as runs while threads read them at full speed and
 * write to some. Every thread owns one word of every page and knows what it
 * holds: no read is wrong, no write is lost, nobody sleeps for ever. A fourth
 * one holds pages by reading a file into them without the page cache.
 *
 * ctest-timeout: 240
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/os_linux.h"
#include "lib/leak.h"
#include "lib/load_world.h"

#define OWNERS 3u
#define PART 256u /* pages that are rewritten together */
#define PARTS 8u
#define PAGES (PARTS * PART)
#define WORD_STEP 512u /* between the words of two owners */
#define RUNS 1000ul
#define PATIENCE 60.0
#define DIRECT_AT 2048u /* bytes of a page that direct reads may fill */
#define DIRECT_BYTES 512u

static atomic_ulong runs; /* taken as a whole */

static struct tf_os counting;

static long count_away(const struct tf_os *os, void *from, size_t len)
{
	(void)os;
	atomic_fetch_add(&runs, 1);
	return tf_os_linux.remap_away(&tf_os_linux, from, len);
}

struct owner {
	struct worker worker;
	struct world *world;
	unsigned no;
	uint64_t writes;
	uint64_t word[PAGES];
};

static uint64_t *word_of(const struct owner *o, size_t page)
{
	return (uint64_t *)(o->world->ram + page * TF_PAGE + o->no * WORD_STEP);
}

static void check_word(struct owner *o, size_t page)
{
	uint64_t is = __atomic_load_n(word_of(o, page), __ATOMIC_RELAXED);

	if (is != o->word[page])
		test_fail("owner %u, page %zu: %#llx instead of %#llx", o->no,
			  page, (unsigned long long)is,
			  (unsigned long long)o->word[page]);
}

static void put_word(struct owner *o, size_t page, uint64_t value)
{
	o->word[page] = value;
	o->writes++;
	__atomic_store_n(word_of(o, page), value, __ATOMIC_RELAXED);
}

/* Even pages are zero but for a moment; odd ones never. */
static void visit(struct owner *o, uint64_t *rng)
{
	size_t page = test_random(rng) % PAGES;
	bool even = page % 2 == 0;

	check_word(o, page);
	if (test_random(rng) % 4096)
		return;
	put_word(o, page, test_random(rng) | 1);
	check_word(o, page);
	if (even)
		put_word(o, page, 0);
}

/* So that there is always something to take. */
static void rewrite_part(struct owner *o, size_t part)
{
	for (size_t page = part * PART; page < (part + 1) * PART; page += 2)
		put_word(o, page, 0);
}

static void own_loop(struct worker *me)
{
	struct owner *o = me->arg;
	unsigned long passes = 0;
	size_t part = o->no;

	while (!worker_stopped(me)) {
		unsigned long now = atomic_load(&o->world->merger.steps);

		visit(o, &me->rng);
		worker_step(me);
		if (now == passes)
			continue;
		passes = now;
		rewrite_part(o, part % PARTS);
		part += OWNERS;
	}
}

struct direct {
	struct worker worker;
	struct world *world;
	int fd;
	uint64_t reads;
};

/* Zeros into even pages: what is there already, by a device. */
static void direct_loop(struct worker *me)
{
	struct direct *d = me->arg;

	while (!worker_stopped(me)) {
		size_t page = test_random(&me->rng) % (PAGES / 2) * 2;

		CHECK(pread(d->fd, d->world->ram + page * TF_PAGE + DIRECT_AT,
			    DIRECT_BYTES, 0) == DIRECT_BYTES);
		d->reads++;
		worker_step(me);
		test_nap(0.0001);
	}
}

/* A file of zeros; without O_DIRECT it is read through the page cache. */
static int open_zeros(void)
{
	static const char zeros[TF_PAGE_SIZE];
	char name[] = "dense-zeros-XXXXXX";
	int fd = mkostemp(name, O_DIRECT), plain;

	if (fd < 0)
		fd = mkstemp(name);
	plain = open(name, O_WRONLY);
	CHECK(fd >= 0 && plain >= 0);
	CHECK(write(plain, zeros, sizeof(zeros)) == (ssize_t)sizeof(zeros));
	CHECK(!fsync(plain));
	close(plain);
	unlink(name);
	return fd;
}

static void fill(struct owner *owner)
{
	for (size_t page = 0; page < PAGES; page++)
		for (unsigned i = 0; i < OWNERS; i++)
			put_word(&owner[i], page,
				 page % 2 ? page * OWNERS + i + 1 : 0);
}

static void race(struct world *world, struct owner *owner, uint64_t target)
{
	struct direct direct = { .world = world, .fd = open_zeros() };
	struct worker *watched[OWNERS + 2] = { &world->merger, &direct.worker };
	double end = test_now() + PATIENCE;

	fill(owner);
	world_merge_start(world);
	worker_start(&direct.worker, "direct reads", direct_loop, &direct);
	for (unsigned i = 0; i < OWNERS; i++) {
		watched[i + 2] = &owner[i].worker;
		worker_start(&owner[i].worker, "an owner", own_loop, &owner[i]);
	}
	worker_watch(watched, OWNERS + 2);
	while (atomic_load(&runs) < target && test_now() < end)
		test_nap(0.01);
	for (unsigned i = 0; i < OWNERS; i++)
		worker_stop(&owner[i].worker);
	worker_stop(&direct.worker);
	worker_unwatch();
	world_merge_stop(world);
	close(direct.fd);
	printf("%lu runs taken, %llu direct reads\n", atomic_load(&runs),
	       (unsigned long long)direct.reads);
}

static void run(uint64_t target)
{
	struct owner *owner = calloc(OWNERS, sizeof(*owner));
	struct tf_engine_opts opts;
	struct world world;
	struct tf_stats s;

	CHECK(owner);
	atomic_store(&runs, 0);
	world_opts(&opts, 16);
	opts.smart_scan = 0;
	world_open(&world, PAGES, &opts, &counting);
	for (unsigned i = 0; i < OWNERS; i++) {
		owner[i].world = &world;
		owner[i].no = i;
	}
	race(&world, owner, target);
	CHECK(atomic_load(&runs) >= target);
	for (unsigned i = 0; i < OWNERS; i++)
		for (size_t page = 0; page < PAGES; page++)
			check_word(&owner[i], page);
	world_passes(&world, 3);
	world_check(&world);
	world_stats(&world, &s);
	CHECK(s.zero_pages == PAGES / 2);
	world_close(&world);
	free(owner);
}

int main(void)
{
	struct leak before;

	counting = tf_os_linux;
	counting.remap_away = count_away;
	test_begin();
	run(2);
	leak_take(&before);
	run(test_scaled(RUNS));
	leak_check(&before);
	return 0;
}
