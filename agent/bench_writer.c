/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One writer: visits, and the test whether an access slept. What the three
 * kinds of accesses mean is said in bench_fence.c. A writer owns one word of
 * each page and nothing else of the area. No locks.
 */
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/bench_writer.h"

#define CEILING_NS 5000
#define LATER_STORES 64
#define PROBES 16

static long voluntary_switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return u.ru_nvcsw;
}

/* The access that began at `start` has ended: note it if it slept. */
static void note(struct bench_writer *w, struct bench_times *times,
		 uint64_t start)
{
	uint64_t ns = bench_now_ns() - start;
	long switches;

	if (ns < CEILING_NS)
		return;
	switches = voluntary_switches();
	if (switches != w->switches)
		w->code |= bench_times_add(times, ns);
	w->switches = switches;
}

static uint64_t timed_load(struct bench_writer *w,
			   const volatile uint64_t *word)
{
	uint64_t start = bench_now_ns();
	uint64_t value = *word;

	note(w, &w->loads, start);
	return value;
}

static void timed_store(struct bench_writer *w, volatile uint64_t *word,
			uint64_t value, struct bench_times *times)
{
	uint64_t start = bench_now_ns();

	*word = value;
	note(w, times, start);
}

static volatile uint64_t *word_of(const struct bench_writer *w, size_t pick)
{
	return bench_page(w->all->area, w->all->pages[pick]) +
	       w->index * BENCH_WORD_STRIDE;
}

static size_t pick_page(struct bench_writer *w)
{
	return bench_random(&w->random) % w->all->n_pages;
}

static void checked_load(struct bench_writer *w, size_t pick)
{
	w->wrong_loads += timed_load(w, word_of(w, pick)) != w->words[pick];
}

static void visit(struct bench_writer *w)
{
	size_t pick = pick_page(w);
	volatile uint64_t *word = word_of(w, pick);
	uint64_t value = bench_random(&w->random);

	for (int i = 0; i < PROBES; i++)
		checked_load(w, pick_page(w));
	checked_load(w, pick);
	timed_store(w, word, value, &w->first_stores);
	for (int i = 0; i < LATER_STORES; i++)
		timed_store(w, word, ++value, &w->later_stores);
	w->lost += *word != value;
	timed_store(w, word, w->words[pick], &w->later_stores);
	w->visits++;
}

/* One CPU is left to the merging thread; on one CPU nothing is pinned. */
static void pin(const struct bench_writer *w)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	if (cpus < 2)
		return;
	CPU_ZERO(&set);
	CPU_SET(1 + w->index % (unsigned)(cpus - 1), &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void *writer_main(void *arg)
{
	struct bench_writer *w = arg;
	struct bench_writers *all = w->all;

	pin(w);
	for (;;) {
		pthread_barrier_wait(&all->barrier);
		if (atomic_load(&all->over))
			return NULL;
		w->switches = voluntary_switches();
		while (atomic_load_explicit(&all->merging,
					    memory_order_relaxed))
			visit(w);
		pthread_barrier_wait(&all->barrier);
	}
}

int bench_writer_start(struct bench_writers *all, struct bench_writer *w)
{
	w->all = all;
	w->words = calloc(all->n_pages, sizeof(*w->words));
	if (!w->words)
		return bench_fail(TF_EXIT_FAILED, "out of memory");
	for (size_t i = 0; i < all->n_pages; i++)
		w->words[i] = *word_of(w, i);
	if (!pthread_create(&w->thread, NULL, writer_main, w))
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_FAILED, "cannot start writer %u", w->index);
}
