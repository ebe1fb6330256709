/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every property test needs: a seed that is printed and can be given
 * again, the last steps for whoever has to replay a failure, a watchdog that
 * turns a stuck thread into a message, and a count of what a process holds.
 */
#ifndef TF_TESTS_PROP_H
#define TF_TESTS_PROP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/leak.h"

struct tf_engine;

/* A splitmix64 generator: one word of state, any seed is good. */
struct prop_rng {
	uint64_t state;
};

uint64_t prop_next(struct prop_rng *r);

/* Uniform in [0, n); n > 0. */
unsigned prop_below(struct prop_rng *r, unsigned n);

/* True in `percent` of 100 calls. */
bool prop_chance(struct prop_rng *r, unsigned percent);

/* The number in environment variable `name`, or `other`. */
uint64_t prop_env(const char *name, uint64_t other);

/* What a test does now and then, and how often beside the others. */
struct prop_step {
	void (*run)(void);
	unsigned weight;
};

/* Run one of `n` steps. */
void prop_take_step(struct prop_rng *r, const struct prop_step *steps,
		    size_t n);

/* Take TF_SEED or a random seed, and print it with the program's name. */
uint64_t prop_begin(const char *name);

/* Remember one step; the last ones are printed by prop_fail(). */
void prop_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Print the reason, the seed and the last steps, and end with status 1. */
void prop_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

/* End with status 77 and a reason. */
void prop_skip(const char *why) __attribute__((noreturn));

/* prop_skip() unless this host can merge; an engine comes and goes. */
void prop_require_merging(void);

/* prop_fail() unless `cond`; the text says what was expected. */
#define PROP_EXPECT(cond, ...)                                                 \
	do {                                                                   \
		if (!(cond))                                                   \
			prop_fail(__VA_ARGS__);                                \
	} while (0)

/* Fail with "stuck in `what`" unless called again within `seconds`; name it
 * as well if guest memory cannot be read any more. */
void prop_watchdog(unsigned seconds, const char *what);

/* Every invariant of the engine, or prop_fail(). */
void prop_check_engine(struct tf_engine *e, const char *when);

/*
 * Fail unless the process holds what it held before. Mappings may have become
 * fewer: two of the test's own may have joined.
 */
void prop_check_held(const struct leak *before, const char *when);

#endif
