/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The world of a stress test. Owns engine, guest, RAM and the merging thread. */
#include "lib/load_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/check.h"
#include "engine/state.h"

#define HUGE_BYTES ((size_t)2 << 20)

static void on_log(void *user, enum tf_log_level level, const char *line)
{
	(void)user;
	if (level <= TF_LOG_WARNING)
		fprintf(stderr, "engine: %s\n", line);
}

void world_opts(struct tf_engine_opts *opts, unsigned max_page_sharing)
{
	tf_engine_opts_init(opts);
	opts->max_page_sharing = max_page_sharing;
	opts->log = on_log;
}

char *ram_map(size_t pages)
{
	size_t bytes = pages * TF_PAGE_SIZE;
	char *p = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t head = -(uintptr_t)p & (HUGE_BYTES - 1);

	CHECK(p != MAP_FAILED);
	if (head)
		munmap(p, head);
	munmap(p + head + bytes, HUGE_BYTES - head);
	madvise(p + head, bytes, MADV_NOHUGEPAGE);
	return p + head;
}

void ram_unmap(char *ram, size_t pages)
{
	munmap(ram, pages * TF_PAGE_SIZE);
}

void world_stats(struct world *w, struct tf_stats *ret)
{
	*ret = (struct tf_stats){ .size = sizeof(*ret) };
	CHECK(tf_engine_stats(w->engine, ret) == 0);
}

void world_open(struct world *w, size_t pages,
		const struct tf_engine_opts *opts, const struct tf_os *os)
{
	struct tf_engine_opts o;
	struct tf_stats s;

	memset(w, 0, sizeof(*w));
	world_opts(&o, 256);
	CHECK(tf_engine_create_os(opts ? opts : &o, os ? os : &tf_os_linux,
				  &w->engine) == 0);
	world_stats(w, &s);
	if (!s.can_merge)
		test_skip("this host cannot merge pages (userfaultfd with "
			  "UFFDIO_MOVE, Linux 6.8)");
	CHECK(tf_guest_create(w->engine, NULL, &w->guest) == 0);
	w->pages = pages;
	w->ram = ram_map(pages);
	CHECK(tf_guest_add_memslot(w->guest, 0, 0, w->ram,
				   pages * TF_PAGE_SIZE) == 0);
}

void world_close(struct world *w)
{
	world_check(w);
	tf_guest_destroy(w->guest);
	tf_engine_destroy(w->engine);
	ram_unmap(w->ram, w->pages);
}

static void one_pass(struct world *w)
{
	struct tf_pass p = { .size = sizeof(p) };

	CHECK(tf_engine_pass(w->engine, &p) == 0);
	w->passes++;
	w->sum.merged += p.merged;
	atomic_store(&w->merged, w->sum.merged);
	w->sum.zero_merged += p.zero_merged;
	w->sum.promoted += p.promoted;
	w->sum.bridged += p.bridged;
	w->sum.busy += p.busy;
	w->sum.changed += p.changed;
}

static void merge_loop(struct worker *me)
{
	while (!worker_stopped(me)) {
		one_pass(me->arg);
		worker_step(me);
	}
}

void world_merge_start(struct world *w)
{
	worker_start(&w->merger, "the merging thread", merge_loop, w);
}

void world_merge_stop(struct world *w)
{
	worker_stop(&w->merger);
}

void world_passes(struct world *w, unsigned n)
{
	while (n--)
		one_pass(w);
}

struct known {
	uint64_t digest;
	const char *addr;
};

static int cmp_known(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return (x->digest > y->digest) - (x->digest < y->digest);
}

/* 0: zeros. */
static uint64_t digest(const char *page)
{
	uint64_t sum = 0, word;

	for (size_t i = 0; i < TF_PAGE; i += sizeof(word)) {
		memcpy(&word, page + i, sizeof(word));
		sum = (sum ^ word) * UINT64_C(0x100000001b3);
	}
	return sum;
}

/* A hole reads as zeros and needs nothing more. */
static bool is_settled(struct tf_engine *e, const char *addr, bool zeros)
{
	const struct tf_region *r = tf_region_at(e, addr);
	const struct tf_block *b =
		tf_block_find(r, tf_region_block_of(r, addr));
	unsigned page = tf_region_page_of(r, addr);

	if (!b || b->frames[page].state == TF_FRAME_NONE)
		return zeros;
	return b->frames[page].state == TF_FRAME_SHARED ||
	       b->frames[page].state == TF_FRAME_ZERO ||
	       b->frames[page].state == TF_FRAME_COW;
}

static size_t count_unmerged(struct tf_engine *e, const struct known *k,
			     size_t n)
{
	size_t unmerged = 0;

	for (size_t i = 0; i < n; i++)
		if ((i && k[i - 1].digest == k[i].digest) ||
		    (i + 1 < n && k[i + 1].digest == k[i].digest))
			unmerged += !is_settled(e, k[i].addr, !k[i].digest);
	return unmerged;
}

size_t world_unmerged(struct world *w, const struct load *const *loads,
		      size_t n)
{
	struct known *k = calloc(w->pages, sizeof(*k));
	size_t pages = 0, unmerged;

	CHECK(k);
	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; p < loads[i]->pages; p++)
			k[pages++] = (struct known){
				digest(loads[i]->shadow + p * TF_PAGE),
				load_page(loads[i], p),
			};
	qsort(k, pages, sizeof(*k), cmp_known);
	pthread_mutex_lock(&w->engine->lock);
	unmerged = count_unmerged(w->engine, k, pages);
	pthread_mutex_unlock(&w->engine->lock);
	free(k);
	return unmerged;
}

void world_check(struct world *w)
{
	char why[256] = "";

	if (tf_engine_check(w->engine, why, sizeof(why)))
		test_fail("an invariant does not hold: %s", why);
}

void world_report(struct world *w, const char *what, uint64_t writes,
		  uint64_t merged, uint64_t breaks)
{
	struct tf_stats s;
	uint64_t broken;

	world_stats(w, &s);
	broken = s.breaks + s.breaks_ahead;
	printf("%s: writes %llu, passes %llu, merged %llu, zero %llu, "
	       "promoted %llu, changed %llu, busy %llu, breaks %llu, "
	       "cow %llu, lost 0\n",
	       what, (unsigned long long)writes, (unsigned long long)w->passes,
	       (unsigned long long)w->sum.merged,
	       (unsigned long long)w->sum.zero_merged,
	       (unsigned long long)w->sum.promoted,
	       (unsigned long long)w->sum.changed,
	       (unsigned long long)w->sum.busy, (unsigned long long)broken,
	       (unsigned long long)s.pages_cow);
	if (w->sum.merged < merged || broken < breaks)
		test_fail("%s: too little happened: %llu merges of %llu, %llu "
			  "breaks of %llu",
			  what, (unsigned long long)w->sum.merged,
			  (unsigned long long)merged,
			  (unsigned long long)broken,
			  (unsigned long long)breaks);
}
