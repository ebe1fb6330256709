/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small world for unit tests: an engine over a kernel seam that the test
 * may change, guests, filled memory, and the promise that descriptors,
 * mappings and threads are as before when it ends.
 *
 * unit_init(), then change `os` or `opts`, then unit_open() ... unit_close().
 * Everything asserts; nothing here returns an error.
 */
#ifndef TF_TESTS_UNIT_WORLD_H
#define TF_TESTS_UNIT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/chain.h"
#include "engine/frame.h"
#include "engine/os.h"
#include "engine/state.h"
#include "lib/sanitized.h"
#include "twinfold/twinfold.h"

#define UNIT_RAMS 8
#define UNIT_LOG_BYTES 16384

struct unit_log {
	pthread_mutex_t lock;
	size_t len;
	char text[UNIT_LOG_BYTES];
};

/* What a test must leave as it found it. */
struct unit_host {
	unsigned fds, maps, threads;
};

struct unit_ram {
	char *base;
	size_t bytes;
};

struct unit {
	struct tf_engine *e;
	struct tf_os os; /* a copy of the real seam */
	struct tf_engine_opts opts;
	struct unit_log log;
	struct unit_ram ram[UNIT_RAMS];
	unsigned nrams;
	struct unit_host host;
};

/* A frame: where its entry is, and what it was when it was looked up. */
struct unit_spot {
	struct tf_block *b;
	unsigned page;
	struct tf_frame *f;
	struct tf_frame was;
	bool pending;
};

/* Change a call of the seam while the engine's threads may be using it. */
#define unit_wrap(u, call, by)                                                 \
	do {                                                                   \
		if ((u)->e)                                                    \
			pthread_mutex_lock(&(u)->e->lock);                     \
		(u)->os.call = (by);                                           \
		if ((u)->e)                                                    \
			pthread_mutex_unlock(&(u)->e->lock);                   \
	} while (0)

void unit_init(struct unit *u);
void unit_open(struct unit *u);
void unit_close(struct unit *u);

/* unit_init() and unit_open(); one guest without memory. */
struct tf_guest *unit_empty(struct unit *u);

/* unit_init() and unit_open(); one guest with `pages` of RAM at gpa 0. */
struct tf_guest *unit_simple(struct unit *u, unsigned pages, char **ram);

/* The same, filled with two equal halves and merged. smart_scan is off. */
struct tf_guest *unit_merged(struct unit *u, unsigned pages, char **ram);

/* Private anonymous memory at a 2 MiB border; unit_close() unmaps it. */
char *unit_ram(struct unit *u, size_t bytes);
void unit_unmap(struct unit *u, char *base);

struct tf_guest *unit_guest(struct unit *u, const char *domain);
void unit_slot(struct tf_guest *g, uint32_t slot, uint64_t gpa, char *hva,
	       size_t bytes);

/* Adding this memslot fails like this, and the log has these words. */
void unit_assert_refused(struct unit *u, struct tf_guest *g, uint32_t slot,
			 uint64_t gpa, void *hva, size_t bytes, int err,
			 const char *words);

/* One pass that must succeed, and the invariants after it. */
struct tf_pass unit_pass(struct unit *u);
void unit_passes(struct unit *u, unsigned n);
void unit_check(struct unit *u);
struct tf_stats unit_stats(struct unit *u);
struct tf_guest_stats unit_guest_stats(struct tf_guest *g);
/* Frames that broke, each written or ahead of its writer. */
uint64_t unit_breaks(struct unit *u);

/* A page's content, named by a number; 0 is all zeros. */
void unit_fill(char *page, uint64_t seed);
void unit_assert_page(const char *page, uint64_t seed);
/* Page i of `n` becomes seed + i. */
void unit_fill_run(char *base, unsigned n, uint64_t seed);
void unit_assert_run(const char *base, unsigned n, uint64_t seed);

/* The frame that is mapped at `addr`. */
struct unit_spot unit_spot(struct unit *u, const char *addr);
/* The dup that it shares, as it was then; all zeros if it shares none. */
struct tf_dup unit_dup(struct unit *u, const char *addr);
enum tf_frame_state unit_state(struct unit *u, const char *addr);
/* Its entry equals that of a frame just seen, and it waits. */
void unit_assert_fresh(struct unit *u, const char *addr);
/* It merges again, but not in the next pass. */
void unit_assert_waits_a_pass(struct unit *u, const char *addr);

bool unit_log_has(struct unit *u, const char *words);
void unit_log_clear(struct unit *u);

/* VmFlags of the mapping at `addr`, less the named ones (each "xx "). */
void unit_flags(const void *addr, const char *without, char flags[128]);
/* A number of /proc/self/status or of an smaps entry, in KiB. */
unsigned long unit_status(const char *key);
unsigned long unit_smaps(const void *addr, const char *key);
/* Blocks of 512 bytes that the stores of this process hold. */
uint64_t unit_store_blocks(const struct tf_engine *e);

/* End this case as skipped, with a reason that the runner shows. */
void unit_skip(const char *why);

#define unit_run(tests)                                                        \
	(unit_warm_up(), cmocka_run_group_tests(tests, NULL, NULL))
/* Threads' stacks and the heap are in place before a case counts. */
void unit_warm_up(void);

#endif
