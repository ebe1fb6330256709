/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Seeds, notes, watchdog. Owns the one ring of notes and the alarm signal;
 * notes may be written from several threads.
 */
#include "tests/lib/prop.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "engine/check.h"
#include "tests/lib/sanitized.h"
#include "tests/lib/threads.h"
#include "twinfold/twinfold.h"

#define NOTES 200
#define NOTE_BYTES 160

static struct {
	pthread_mutex_t lock;
	char text[NOTES][NOTE_BYTES];
	unsigned long long count;
	uint64_t seed;
	const char *name;
	const char *watched;
} prop = { .lock = PTHREAD_MUTEX_INITIALIZER, .name = "prop" };

uint64_t prop_next(struct prop_rng *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

unsigned prop_below(struct prop_rng *r, unsigned n)
{
	return (unsigned)(prop_next(r) % n);
}

bool prop_chance(struct prop_rng *r, unsigned percent)
{
	return prop_below(r, 100) < percent;
}

void prop_take_step(struct prop_rng *r, const struct prop_step *steps, size_t n)
{
	unsigned total = 0, at;

	for (size_t i = 0; i < n; i++)
		total += steps[i].weight;
	PROP_EXPECT(total, "no step has a weight");
	at = prop_below(r, total);
	for (; at >= steps->weight; steps++)
		at -= steps->weight;
	steps->run();
}

uint64_t prop_env(const char *name, uint64_t other)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : other;
}

uint64_t prop_begin(const char *name)
{
	uint64_t seed = 0;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = (uint64_t)getpid();
	seed = prop_env("TF_SEED", seed >> 32);
	prop.seed = seed;
	prop.name = name;
	test_begin();
	printf("%s: TF_SEED=%llu\n", name, (unsigned long long)seed);
	return seed;
}

void prop_note(const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&prop.lock);
	va_start(ap, fmt);
	vsnprintf(prop.text[prop.count++ % NOTES], NOTE_BYTES, fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&prop.lock);
}

static void print_notes(void)
{
	unsigned long long from = prop.count > NOTES ? prop.count - NOTES : 0;

	for (; from < prop.count; from++)
		fprintf(stderr, "  %6llu %s\n", from, prop.text[from % NOTES]);
}

void prop_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "%s: FAILED: ", prop.name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n  replay with TF_SEED=%llu; the last steps:\n",
		(unsigned long long)prop.seed);
	print_notes();
	fflush(stderr);
	_exit(1);
}

void prop_skip(const char *why)
{
	fprintf(stderr, "skip: %s\n", why);
	exit(77);
}

void prop_require_merging(void)
{
	struct tf_stats s = { .size = sizeof(s) };
	struct tf_engine *e;

	if (!tf_engine_create(NULL, &e)) {
		tf_engine_stats(e, &s);
		tf_engine_start(e);
		tf_engine_destroy(e);
	}
	if (!s.can_merge)
		prop_skip("this host cannot merge (UFFDIO_MOVE, Linux 6.8, and "
			  "the right to use userfaultfd)");
}

static void write_text(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(1);
}

/* Notes are plain text at rest: readable without a lock or a buffer. */
static void on_signal(int sig)
{
	unsigned long long from = prop.count > NOTES ? prop.count - NOTES : 0;

	write_text(sig == SIGALRM ? "FAILED: a thread is stuck in " :
				    "FAILED: memory is gone or lost in ");
	write_text(prop.watched ? prop.watched : "?");
	write_text("; the last steps:\n");
	for (; from < prop.count; from++) {
		write_text("  ");
		write_text(prop.text[from % NOTES]);
		write_text("\n");
	}
	_exit(1);
}

void prop_watchdog(unsigned seconds, const char *what)
{
	prop.watched = what;
	signal(SIGALRM, on_signal);
	if (!SANITIZED) {
		signal(SIGSEGV, on_signal);
		signal(SIGBUS, on_signal);
	}
	alarm(seconds);
}

void prop_check_engine(struct tf_engine *e, const char *when)
{
	char why[256] = "";

	if (tf_engine_check(e, why, sizeof(why)))
		prop_fail("invariant broken %s: %s", when, why);
}

static void print_file(const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f)
		return;
	for (int c; (c = getc(f)) != EOF;)
		putc(c, stderr);
	fclose(f);
}

void prop_check_held(const struct leak *before, const char *when)
{
	struct leak now;

	leak_take(&now);
	/* A joined thread leaves the task list a moment later. */
	for (int i = 0; i < 200 && now.threads > before->threads; i++) {
		usleep(5000);
		leak_take(&now);
	}
	PROP_EXPECT(now.fds == before->fds, "%s: %u descriptors, before %u",
		    when, now.fds, before->fds);
	PROP_EXPECT(now.threads == before->threads, "%s: %u threads, before %u",
		    when, now.threads, before->threads);
	PROP_EXPECT(now.stores == before->stores,
		    "%s: %u mappings of stores, before %u", when, now.stores,
		    before->stores);
	if (!SANITIZED && now.maps > before->maps)
		print_file("/proc/self/maps");
	PROP_EXPECT(SANITIZED || now.maps <= before->maps,
		    "%s: %u mappings, before %u", when, now.maps, before->maps);
}
