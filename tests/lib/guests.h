/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of the lightweight VMM share: its checking workload, alone or
 * as two guests of one engine, and whether this host can run them. Failures
 * fail the cmocka test that runs.
 */
#ifndef TF_TESTS_LIB_GUESTS_H
#define TF_TESTS_LIB_GUESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "twinfold/twinfold.h"
#include "twinfold/vmm.h"

/* How long a guest may take for what takes seconds where instructions are
 * emulated; only a broken one takes so long. */
#define PATIENCE_S 120

void nap(long ms);

/* A workload that has not died. */
struct tf_work_report work_report(struct tf_work *work);

/* Enter `phase`, and stay until every page was checked `more` times. */
struct tf_work_report work_go(struct tf_work *work, enum tf_work_phase phase,
			      uint64_t more);

#define PAIR 2

struct pair {
	struct tf_engine *engine; /* the test's, as far as pair_add() */
	struct tf_guest *guest[PAIR];
	struct tf_work *work[PAIR];
};

/* Two guests of one trust domain, which start; `opts` less what makes one of
 * them: its size, memory, number and guest. */
void pair_add(struct pair *p, const struct tf_work_opts *opts);
/* What there is of it, and the engine. */
void pair_close(struct pair *p);
struct tf_stats pair_stats(const struct pair *p);

/* As work_go(), both; neither may find a wrong byte. */
void pair_go(struct pair *p, enum tf_work_phase phase, uint64_t more);
/* The same, in the phase that they are in. */
void pair_wait(struct pair *p, enum tf_work_phase phase, uint64_t more);

/* Say on stderr why not. */
bool has_kvm(void);
bool has_merging(void);

#endif
