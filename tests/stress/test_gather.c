/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writers and readers at full speed on frames that are merged, un-merged and
 * gathered all the time: fences, mappings that move and holes that somebody
 * touches collide. The kernel touches them too: pread(2) and
 * process_vm_writev(2) write into the RAM.
 *
 * Every page has an owner who knows its bytes. Pages that are only read have
 * readers in several threads and never change.
 *
 * ctest-timeout: 240
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"

#define WRITERS 2
#define READERS 2
#define OWNERS (WRITERS + 2) /* and two that write by the kernel */
#define PAGES 512            /* of one owner */
#define CONSTANT 4096        /* only read */
#define ALL (OWNERS * (size_t)PAGES + CONSTANT)
#define WINDOW 64
#define WRITES 1000000ul
#define GATHERED 100000ul
#define PATIENCE 60.0

struct scene;

struct owner {
	struct worker worker;
	struct load load;
	atomic_ulong writes; /* for others to see */
	int fd;              /* all contents, one page each */
};

struct reader {
	struct worker worker;
	const struct load *load;
};

struct scene {
	struct world world;
	struct owner owner[OWNERS];
	struct reader reader[READERS];
	struct load constant; /* never written after the start */
	struct worker turner;
	uint64_t rounds;
};

/* A window at a time, so that frames are shared when the writer comes; up and
 * down, so that some are broken ahead. */
static void write_loop(struct worker *me)
{
	struct owner *o = me->arg;
	size_t window = 0;

	for (uint64_t i = 0; !worker_stopped(me); i++) {
		size_t page = window + test_random(&me->rng) % WINDOW;

		if (i % 256 >= 128)
			page = window + i % WINDOW;
		load_visit(&o->load, page, 1 + i % 8, &me->rng);
		atomic_store(&o->writes, o->load.writes);
		worker_step(me);
		if (i % WINDOW == 0)
			window = (window + WINDOW) % PAGES;
	}
}

static char contents[LOAD_CONTENTS][TF_PAGE_SIZE];

static int contents_file(void)
{
	int fd = memfd_create("contents", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(write(fd, contents, sizeof(contents)) == sizeof(contents));
	return fd;
}

/* A run of pages by one system call: it may sleep in the middle of it. */
static void kernel_write(struct owner *o, bool by_pread, size_t page,
			 unsigned no)
{
	const size_t n = LOAD_CONTENTS - no;
	struct iovec from = { contents[no], n * TF_PAGE_SIZE };
	struct iovec to = { load_page(&o->load, page), from.iov_len };
	ssize_t done;

	if (by_pread)
		done = pread(o->fd, to.iov_base, to.iov_len,
			     (off_t)no * TF_PAGE_SIZE);
	else
		done = process_vm_writev(getpid(), &from, 1, &to, 1, 0);
	CHECK(done == (ssize_t)from.iov_len);
	for (size_t i = 0; i < n; i++)
		load_expect(&o->load, page + i, contents[no + i]);
}

static void kernel_loop(struct worker *me, bool by_pread)
{
	struct owner *o = me->arg;

	while (!worker_stopped(me)) {
		size_t page = test_random(&me->rng) % (PAGES - LOAD_CONTENTS);
		unsigned no = test_random(&me->rng) % LOAD_CONTENTS;

		load_verify(&o->load, page);
		kernel_write(o, by_pread, page, no);
		if (test_random(&me->rng) % 4 == 0)
			load_visit(&o->load, page, 1, &me->rng);
		atomic_store(&o->writes, o->load.writes);
		worker_step(me);
		test_nap(0.0002); /* the passes need time to merge it */
	}
}

static void pread_loop(struct worker *me)
{
	kernel_loop(me, true);
}

static void writev_loop(struct worker *me)
{
	kernel_loop(me, false);
}

static void read_loop(struct worker *me)
{
	const struct reader *r = me->arg;

	while (!worker_stopped(me)) {
		load_verify(r->load, test_random(&me->rng) % CONSTANT);
		worker_step(me);
	}
}

/* Merge and give back, parts and all of it. Passes that follow one another
 * gather by themselves what has cooled. */
static void turn_loop(struct worker *me)
{
	struct scene *s = me->arg;

	while (!worker_stopped(me)) {
		size_t from = 0, n = ALL;

		world_passes(&s->world, 2 + test_random(&me->rng) % 4);
		if (test_random(&me->rng) % 2) {
			n = 1 + test_random(&me->rng) % ALL;
			from = test_random(&me->rng) % (ALL - n + 1);
		}
		CHECK(tf_guest_unmerge(s->world.guest, from * TF_PAGE_SIZE,
				       n * TF_PAGE_SIZE) == 0);
		s->rounds++;
		worker_step(me);
	}
}

static void start(struct scene *s)
{
	static void (*const run[OWNERS])(struct worker *) = {
		write_loop, write_loop, pread_loop, writev_loop
	};
	static const char *const name[OWNERS] = { "a writer", "a writer",
						  "pread", "vm_writev" };

	for (unsigned i = 0; i < OWNERS; i++) {
		load_init(&s->owner[i].load,
			  s->world.ram + i * PAGES * TF_PAGE_SIZE, PAGES);
		s->owner[i].fd = contents_file();
	}
	load_init(&s->constant, s->world.ram + OWNERS * PAGES * TF_PAGE_SIZE,
		  CONSTANT);
	worker_start(&s->turner, "merging and un-merging", turn_loop, s);
	for (unsigned i = 0; i < OWNERS; i++)
		worker_start(&s->owner[i].worker, name[i], run[i],
			     &s->owner[i]);
	for (unsigned i = 0; i < READERS; i++) {
		s->reader[i].load = &s->constant;
		worker_start(&s->reader[i].worker, "a reader", read_loop,
			     &s->reader[i]);
	}
}

static uint64_t writes_of(struct scene *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < OWNERS; i++)
		n += atomic_load(&s->owner[i].writes);
	return n;
}

static uint64_t gathered_of(struct scene *s)
{
	struct tf_stats stats;

	world_stats(&s->world, &stats);
	return stats.pages_gathered;
}

/* Until enough was done, or it takes too long. */
static void await(struct scene *s, uint64_t writes, uint64_t gathered)
{
	double end = test_now() + PATIENCE;

	while ((writes_of(s) < writes || gathered_of(s) < gathered) &&
	       test_now() < end)
		test_nap(0.01);
}

static void stop(struct scene *s)
{
	for (unsigned i = 0; i < OWNERS; i++)
		worker_stop(&s->owner[i].worker);
	for (unsigned i = 0; i < READERS; i++)
		worker_stop(&s->reader[i].worker);
	worker_stop(&s->turner);
	worker_unwatch();
	for (unsigned i = 0; i < OWNERS; i++) {
		load_verify_all(&s->owner[i].load);
		load_fini(&s->owner[i].load);
		close(s->owner[i].fd);
	}
	load_verify_all(&s->constant);
	load_fini(&s->constant);
}

static void race(struct scene *s, uint64_t writes, uint64_t gathered)
{
	struct worker *watched[OWNERS + READERS + 1] = { &s->turner };
	size_t n = 1;

	for (unsigned i = 0; i < OWNERS; i++)
		watched[n++] = &s->owner[i].worker;
	for (unsigned i = 0; i < READERS; i++)
		watched[n++] = &s->reader[i].worker;
	start(s);
	worker_watch(watched, n);
	await(s, writes, gathered);
	stop(s);
}

static void run(const char *what, uint64_t writes, uint64_t gathered)
{
	struct tf_engine_opts opts;
	struct scene s = { 0 };

	world_opts(&opts, 16);
	opts.smart_scan = 0;
	world_open(&s.world, ALL, &opts, NULL);
	race(&s, writes, gathered);
	printf("gathered %llu in %llu rounds\n",
	       (unsigned long long)gathered_of(&s),
	       (unsigned long long)s.rounds);
	world_report(&s.world, what, writes_of(&s), gathered / 10,
		     gathered / 1000);
	CHECK(writes_of(&s) >= writes);
	CHECK(gathered_of(&s) >= gathered);
	world_close(&s.world);
}

int main(void)
{
	struct leak before;

	test_begin();
	for (unsigned i = 0; i < LOAD_CONTENTS; i++)
		content_fill(contents[i], i);
	run("warm-up", 1000, 1000);
	leak_take(&before);
	run("gathering", test_scaled(WRITES), test_scaled(GATHERED));
	leak_check(&before);
	return 0;
}
