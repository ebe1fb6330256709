/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clocks, messages, JSON members and percentiles for the bench. No state of
 * its own, no locks.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "agent/bench.h"

static uint64_t read_clock(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t bench_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t bench_process_cpu_ns(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t bench_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static int compare_real(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double bench_median(double *values, size_t n)
{
	if (!n)
		return 0;
	qsort(values, n, sizeof(*values), compare_real);
	return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

int bench_fail(int code, const char *fmt, ...)
{
	va_list args;

	fputs("twinfold bench: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

void bench_set_int(json_t *object, const char *key, int64_t value)
{
	json_object_set_new(object, key, json_integer(value));
}

void bench_set_real(json_t *object, const char *key, double value)
{
	json_object_set_new(object, key,
			    isfinite(value) ? json_real(value) : json_null());
}

void bench_set_ratio(json_t *object, const char *key, double a, double b)
{
	bench_set_real(object, key, a / b);
}

double bench_get(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

int bench_times_add(struct bench_times *t, uint64_t ns)
{
	if (t->n == t->room) {
		size_t room = t->room ? 2 * t->room : 4096;
		uint64_t *more = reallocarray(t->ns, room, sizeof(*more));

		if (!more)
			return bench_fail(TF_EXIT_FAILED, "out of memory");
		t->ns = more;
		t->room = room;
	}
	t->ns[t->n++] = ns;
	return TF_EXIT_OK;
}

static int compare_ns(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double bench_times_sum_us(const struct bench_times *t)
{
	double ns = 0;

	for (size_t i = 0; i < t->n; i++)
		ns += (double)t->ns[i];
	return ns / 1000;
}

double bench_times_us(struct bench_times *t, double fraction)
{
	if (!t->n)
		return 0;
	qsort(t->ns, t->n, sizeof(*t->ns), compare_ns);
	return (double)t->ns[(size_t)(fraction * (double)(t->n - 1))] / 1e3;
}

void bench_join_alone(const struct bench_opts *opts, json_t *top,
		      json_t *twinfold, json_t *ksm)
{
	(void)opts;
	(void)ksm;
	json_object_update(top, twinfold);
}
