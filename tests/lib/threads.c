/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads of the stress tests. Owns the watchdog, which never touches guest
 * memory: it has to be awake when everybody else sleeps.
 */
#include "lib/threads.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/sanitized.h"

#define STACK_BYTES (256u << 10)
#define LOOKS 10 /* of the watchdog, a second */

static struct {
	struct worker *const *workers;
	size_t n;
	pthread_t thread;
	atomic_bool stop;
} dog;

void test_begin(void)
{
	mallopt(M_ARENA_MAX, 1);
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

static void say(const char *prefix, const char *fmt, va_list ap)
{
	fprintf(stderr, "%s", prefix);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	fflush(NULL);
}

void test_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("failed: ", fmt, ap);
	va_end(ap);
	_exit(1);
}

void test_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("skipped: ", fmt, ap);
	va_end(ap);
	_exit(77);
}

unsigned long test_scaled(unsigned long n)
{
	const unsigned long part = SANITIZED_THREAD  ? 20 :
				   SANITIZED_ADDRESS ? 5 :
						       1;

	return (n + part - 1) / part;
}

double test_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void test_nap(double seconds)
{
	struct timespec t = { .tv_sec = (time_t)seconds };

	t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
	nanosleep(&t, NULL);
}

uint64_t test_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	atomic_store(&w->tid, (int)gettid());
	w->run(w);
	atomic_store(&w->over, true);
	return NULL;
}

static void thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (pthread_create(thread, &attr, run, arg))
		test_fail("no thread can be started");
	pthread_attr_destroy(&attr);
}

void worker_start(struct worker *w, const char *name,
		  void (*run)(struct worker *), void *arg)
{
	static uint64_t seed = UINT64_C(88172645463325252);

	*w = (struct worker){ .name = name, .run = run, .arg = arg };
	w->rng = test_random(&seed);
	thread_start(&w->thread, worker_main, w);
}

void worker_join(struct worker *w)
{
	pthread_join(w->thread, NULL);
}

void worker_stop(struct worker *w)
{
	atomic_store(&w->stop, true);
	worker_join(w);
}

/* The first line of /proc/self/task/TID/FILE. */
static void print_task(int tid, const char *file)
{
	char path[64], line[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, file);
	f = fopen(path, "r");
	if (!f)
		return;
	if (fgets(line, sizeof(line), f))
		fprintf(stderr, "  %s: %s\n", file, line);
	fclose(f);
}

static void look_at(struct worker *w)
{
	unsigned long now = atomic_load(&w->steps);

	if (now != w->seen || atomic_load(&w->over)) {
		w->seen = now;
		w->quiet = 0;
		return;
	}
	if (++w->quiet < WORKER_PATIENCE * LOOKS)
		return;
	print_task(atomic_load(&w->tid), "wchan");
	print_task(atomic_load(&w->tid), "syscall");
	print_task(atomic_load(&w->tid), "stack");
	test_fail("%s: no progress for %d s after %lu steps", w->name,
		  WORKER_PATIENCE, now);
}

static void *dog_main(void *arg)
{
	(void)arg;
	while (!atomic_load(&dog.stop)) {
		test_nap(1.0 / LOOKS);
		for (size_t i = 0; i < dog.n; i++)
			look_at(dog.workers[i]);
	}
	return NULL;
}

void worker_watch(struct worker *const *workers, size_t n)
{
	dog.workers = workers;
	dog.n = n;
	atomic_store(&dog.stop, false);
	thread_start(&dog.thread, dog_main, NULL);
}

void worker_unwatch(void)
{
	atomic_store(&dog.stop, true);
	pthread_join(dog.thread, NULL);
}

void worker_join_all(struct worker *const *workers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		worker_join(workers[i]);
	worker_unwatch();
}
