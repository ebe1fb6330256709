/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads of the stress tests: started with a small stack, joined, and
 * watched. A worker calls worker_step() whenever it got something done; one
 * that does not for WORKER_PATIENCE seconds ends the test with the place in
 * the kernel where it sleeps.
 *
 * A failed check ends the whole program at once: in a race, what comes after
 * the first wrong byte means nothing.
 */
#ifndef TF_TESTS_LIB_THREADS_H
#define TF_TESTS_LIB_THREADS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WORKER_PATIENCE 30

struct worker {
	const char *name;
	void (*run)(struct worker *w);
	void *arg;
	uint64_t rng;
	pthread_t thread;
	atomic_int tid;
	atomic_bool stop;
	atomic_ulong steps;
	atomic_bool over;   /* it has returned, or waits on purpose */
	unsigned long seen; /* steps when the watchdog last looked */
	unsigned quiet;     /* times it found nothing new since */
};

/* Once, first of all: makes memory use repeatable. */
void test_begin(void);

/* End the test: 1 and the reason, or 77 and the reason. */
void test_fail(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
void test_skip(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

#define CHECK(cond)                                                            \
	do {                                                                   \
		if (!(cond))                                                   \
			test_fail("%s:%d: %s", __FILE__, __LINE__, #cond);     \
	} while (0)

/* `n`, or a fraction of it where a sanitizer makes everything slow. */
unsigned long test_scaled(unsigned long n);

double test_now(void);
void test_nap(double seconds);

/* Marsaglia's xorshift64; `state` is not 0. */
uint64_t test_random(uint64_t *state);

void worker_start(struct worker *w, const char *name,
		  void (*run)(struct worker *), void *arg);
void worker_join(struct worker *w);
/* Ask it to end, and join it. */
void worker_stop(struct worker *w);

static inline void worker_step(struct worker *w)
{
	atomic_fetch_add_explicit(&w->steps, 1, memory_order_relaxed);
}

static inline bool worker_stopped(struct worker *w)
{
	return atomic_load_explicit(&w->stop, memory_order_relaxed);
}

/* Watch `n` workers, until worker_unwatch(). One group at a time. */
void worker_watch(struct worker *const *workers, size_t n);
void worker_unwatch(void);

/* Wait for a watched group to end by itself. */
void worker_join_all(struct worker *const *workers, size_t n);

#endif
