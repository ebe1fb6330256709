/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No memory: every allocation of the library in turn fails, and every one
 * from some number on. The scenario and the checks are those of test_faults.
 *
 * ctest-timeout: 240
 * ctest-link: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/prop.h"
#include "tests/lib/prop_scenario.h"

/* Of more calls than this, every so many-th is made to fail. */
#define CALLS_MAX 250u

/* Fail allocations [fail_at, fail_at + fail_for), counted while `counting`. */
static atomic_bool counting;
static atomic_uint count, fail_at, fail_for;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static bool fails(void)
{
	unsigned n;

	if (!atomic_load(&counting))
		return false;
	n = atomic_fetch_add(&count, 1);
	return n >= atomic_load(&fail_at) &&
	       n - atomic_load(&fail_at) < atomic_load(&fail_for);
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

/* How many allocations the run made. */
static unsigned run(unsigned at, unsigned n, enum tf_scan_mode mode,
		    const struct leak *before)
{
	char failing[80];
	struct rig r;

	snprintf(failing, sizeof(failing), "allocation %u%s, scan mode %d", at,
		 n == FAULT_FOR_EVER ? " and all later ones" : "", (int)mode);
	prop_note("%s", failing);
	rig_open(&r);
	r.opts.scan_mode = mode;
	atomic_store(&count, 0);
	atomic_store(&fail_at, at);
	atomic_store(&fail_for, n);
	atomic_store(&counting, true);
	scenario_run(&r, before, failing);
	atomic_store(&counting, false);
	return atomic_load(&count);
}

static void run_mode(enum tf_scan_mode mode)
{
	struct leak before = { .maps = ~0u };
	unsigned calls, step, runs = 0;

	leak_take(&before);
	before.maps = ~0u;
	calls = run(0, 0, mode, &before);
	step = calls > CALLS_MAX ? calls / CALLS_MAX : 1;
	leak_take(&before);
	for (unsigned at = 0; at < calls; at += step) {
		run(at, 1, mode, &before);
		run(at, FAULT_FOR_EVER, mode, &before);
		runs += 2;
	}
	printf("scan mode %d: %u allocations, %u runs\n", (int)mode, calls,
	       runs);
	PROP_EXPECT(calls > 10, "allocations are not counted");
}

int main(void)
{
	prop_begin("test_malloc");
	prop_require_merging();
	run_mode(TF_SCAN_AUTO);
	run_mode(TF_SCAN_HASH);
	return 0;
}
