/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mlockall() at any moment of merging: it touches every page of the process,
 * the engine's own included. It must come to an end, must not fill the holes
 * of a store, which are terabytes, and must lose no write. Once memory is
 * unlocked, it merges again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/state.h"
#include "engine/store.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"
#include "lib/unit_world.h"

#define PAGES 512u
#define LOCKS 300ul

/* Far more than the store of PAGES pages ever holds. */
#define TOO_MUCH (64ull << 20)

struct scene {
	struct world world;
	struct load load;
	struct worker writer, locker, guard;
	unsigned long locks;
};

static void write_loop(struct worker *me)
{
	struct scene *s = me->arg;

	while (!worker_stopped(me)) {
		load_visit(&s->load, test_random(&me->rng) % PAGES, 2,
			   &me->rng);
		worker_step(me);
	}
}

static void lock_loop(struct worker *me)
{
	struct scene *s = me->arg;

	while (s->locks < test_scaled(LOCKS)) {
		CHECK(mlockall(MCL_CURRENT) == 0);
		s->locks++;
		test_nap((double)(test_random(&me->rng) % 1000) * 1e-6);
		CHECK(munlockall() == 0);
		test_nap((double)(test_random(&me->rng) % 4000) * 1e-6);
		worker_step(me);
	}
}

static unsigned long long store_bytes(struct tf_engine *e)
{
	unsigned long long bytes = 0;
	const struct tf_store *s;
	struct stat st;

	pthread_mutex_lock(&e->lock);
	tf_list_for_each(s, &e->stores, link)
		if (!fstat(s->fd, &st))
			bytes += (unsigned long long)st.st_blocks * 512;
	pthread_mutex_unlock(&e->lock);
	return bytes;
}

/* Before the machine is out of memory. */
static void guard_loop(struct worker *me)
{
	struct scene *s = me->arg;

	while (!worker_stopped(me)) {
		if (store_bytes(s->world.engine) > TOO_MUCH)
			test_fail("mlockall() fills the holes of the store");
		test_nap(0.002);
		worker_step(me);
	}
}

/* Whoever else needs memory goes last. */
static void be_first_to_go(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1000", 4) != 4)
		perror("oom_score_adj");
	close(fd);
}

static void raise_limit(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	if (SANITIZED)
		test_skip("it would fill a sanitizer's shadow memory");
	be_first_to_go();
	setrlimit(RLIMIT_MEMLOCK, &all);
	if (mlockall(MCL_CURRENT) || munlockall())
		test_skip("this process may not lock all of its memory");
}

static void race(struct scene *s)
{
	struct worker *watched[] = { &s->writer, &s->locker, &s->guard,
				     &s->world.merger };

	worker_start(&s->guard, "the guard", guard_loop, s);
	world_merge_start(&s->world);
	worker_start(&s->writer, "the writer", write_loop, s);
	worker_start(&s->locker, "the locking thread", lock_loop, s);
	worker_watch(watched, sizeof(watched) / sizeof(*watched));
	worker_join(&s->locker);
	worker_stop(&s->writer);
	worker_unwatch();
	world_merge_stop(&s->world);
	worker_stop(&s->guard);
}

int main(void)
{
	const struct load *loads[1];
	struct scene s = { 0 };
	size_t left;

	test_begin();
	raise_limit();
	world_open(&s.world, PAGES, NULL, NULL);
	load_init(&s.load, s.world.ram, PAGES);
	loads[0] = &s.load;
	race(&s);
	load_verify_all(&s.load);
	world_passes(&s.world, 40);
	left = world_unmerged(&s.world, loads, 1);
	if (left)
		test_fail("%zu pages do not merge any more", left);
	load_verify_all(&s.load);
	printf("locked %lu times, store %llu KiB\n", s.locks,
	       store_bytes(s.world.engine) >> 10);
	world_report(&s.world, "mlockall", s.load.writes, 1, 1);
	load_fini(&s.load);
	world_close(&s.world);
	return 0;
}
