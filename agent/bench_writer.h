/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The writers of `twinfold bench fence`: threads that visit random pages at
 * full speed while one pass merges them, and note what made them sleep. The
 * merging thread and the writers meet at a barrier before and after each
 * such pass; between the barriers the writers' fields are their own.
 */
#ifndef TWINFOLD_AGENT_BENCH_WRITER_H
#define TWINFOLD_AGENT_BENCH_WRITER_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent/bench.h"

#define BENCH_WORD_STRIDE 8 /* between two writers' words: a cache line */
#define BENCH_MAX_WRITERS (BENCH_WORDS / BENCH_WORD_STRIDE)

/* What all writers share; the creator fills all but the flags. */
struct bench_writers {
	const struct bench_area *area;
	uint32_t *pages; /* those that are visited */
	size_t n_pages;
	pthread_barrier_t barrier;
	atomic_bool merging;
	atomic_bool over; /* leave at the next barrier */
};

struct bench_writer {
	struct bench_writers *all;
	pthread_t thread;
	unsigned index;
	uint64_t random;
	uint64_t *words; /* what its word of each visited page holds */
	long switches;   /* voluntary, when last looked at */
	/* Accesses that slept, see bench_fence.c. */
	struct bench_times loads, first_stores, later_stores;
	uint64_t visits;
	uint64_t lost;        /* own stores not found right after */
	uint64_t wrong_loads; /* other bytes than were there for long */
	int code;
};

/* Start one, with index and random set. It waits at the barrier. */
int bench_writer_start(struct bench_writers *all, struct bench_writer *w);

#endif
