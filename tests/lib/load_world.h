/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The world of a stress test: one engine, one guest, its RAM as one memslot
 * at gpa 0, and a thread that merges at full speed.
 */
#ifndef TF_TESTS_LIB_LOAD_WORLD_H
#define TF_TESTS_LIB_LOAD_WORLD_H

#include "engine/os.h"
#include "lib/load_pages.h"
#include "lib/threads.h"
#include "twinfold/engine.h"

struct world {
	struct tf_engine *engine;
	struct tf_guest *guest;
	char *ram;
	size_t pages;
	struct worker merger;
	/* What its passes did, together. */
	struct tf_pass sum;
	uint64_t passes;
	_Atomic uint64_t merged; /* sum.merged, for other threads */
};

/* Small dups, so that chains get several. The rest is the default. */
void world_opts(struct tf_engine_opts *opts, unsigned max_page_sharing);

/* Ends the test with 77 where pages cannot be merged. `opts` or `os` NULL:
 * the default. */
void world_open(struct world *w, size_t pages,
		const struct tf_engine_opts *opts, const struct tf_os *os);
void world_close(struct world *w);

void world_merge_start(struct world *w);
void world_merge_stop(struct world *w);

/* `n` passes in this thread. */
void world_passes(struct world *w, unsigned n);

/* Pages that have an equal in `loads`, and are not merged, nor zero, nor copied
 * by the kernel. Nobody writes meanwhile. */
size_t world_unmerged(struct world *w, const struct load *const *loads,
		      size_t n);

/* The engine's invariants hold, or the test ends. */
void world_check(struct world *w);

void world_stats(struct world *w, struct tf_stats *ret);

/* RAM of a guest, without huge pages; aligned to 2 MiB. */
char *ram_map(size_t pages);
void ram_unmap(char *ram, size_t pages);

/* One line about what merging did; ends the test if it was less than `merged`
 * merges and `breaks` breaks, for then it has tested nothing. */
void world_report(struct world *w, const char *what, uint64_t writes,
		  uint64_t merged, uint64_t breaks);

#endif
