/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of `twinfold drill` share: one run, from its options to its
 * figures.
 *
 *   drill.c         the options, the verdict, the exit code
 *   drill_host.c    what a backend needs of the host; the kernel's log
 *   drill_run.c     engine and guests, phase after phase
 *   drill_storm.c   the faults
 *   drill_churn.c   un-merging meanwhile, in a thread of its own
 *   drill_engine.c  errors in the engine's own memory
 *   drill_report.c  what is printed
 *
 * Functions that return int return an exit code (enum tf_exit) and have said
 * why on stderr when it is not TF_EXIT_OK, unless they say otherwise.
 */
#ifndef TWINFOLD_AGENT_DRILL_H
#define TWINFOLD_AGENT_DRILL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "agent/drillhost/matrix.h"
#include "agent/faults.h"

#define DRILL_GUESTS 3
#define DRILL_MEM_MIB 2

struct drill_backend {
	const char *name;
	enum tf_inject how;
	bool zeros; /* can it lose a zero page? */
	/* TF_EXIT_OK, or TF_EXIT_HOST and the reason is on stderr. NULL: it
	 * has a drill host of its own, see drillhost/matrix.h. */
	int (*check)(void);
};

struct drill_opts {
	const struct drill_backend *backend;
	unsigned faults;
	uint64_t seed;
	bool json;
	enum tf_backend guests;  /* how they run */
	struct matrix_opts host; /* of the backend mce */
	bool list, inside;
};

struct drill_churn {
	pthread_t thread;
	bool running;
	atomic_bool stop;
	uint64_t random;
	uint64_t unmerges;
	uint64_t met_lost; /* of these, that met a lost page */
	int error;         /* any other */
};

struct drill {
	struct drill_opts opts;
	struct tf_engine *engine;
	struct tf_work_report report[DRILL_GUESTS];
	struct faults faults;
	/* By fault: when every guest has done so many rounds, it is settled. */
	uint64_t (*due)[DRILL_GUESTS];
	struct drill_churn churn;
	int kmsg; /* the kernel's log from the start on, or -1 */
	double began, seconds;

	pthread_mutex_t lock;
	double *heal_us; /* of every heal, under `lock` */
	size_t nheals, heal_room;

	/* Results. */
	uint64_t healed;
	uint64_t baseline_deaths;
	uint64_t kernel_warnings;
	struct tf_stats stats; /* when the storm was over */
	struct tf_stats end;
	bool degraded; /* merging stopped, the guests went on */
	bool aborted;  /* the child died by SIGBUS */
	bool stuck;
};

int drill_fail(const char *what, int error);

/* drill_host.c */
const struct drill_backend *drill_backend_find(const char *name);
/* Lines of the log since, that tell of a fault of the kernel. */
void drill_log_open(struct drill *d);
uint64_t drill_log_warnings(const struct drill *d);

/* drill_run.c */
int drill_run(struct drill *d);
void drill_cleanup(struct drill *d);
/* Look at the guests, once. */
int drill_look(struct drill *d);
/* Until every guest has done `more` further rounds of `phase`. */
int drill_go(struct drill *d, enum tf_work_phase phase, uint64_t more);

/* drill_storm.c */
int drill_storm(struct drill *d);
/* Pages that drill_churn.c may un-merge: none of them is lost. */
bool drill_is_churned(const struct tf_work_page *page);

/* drill_churn.c */
int drill_churn_start(struct drill *d);
int drill_churn_stop(struct drill *d);

/* drill_engine.c */
/* An engine whose policy is to abort, in a child; before any thread. */
int drill_abort(struct drill *d);
/* The engine whose policy is to degrade, at the end. */
int drill_degrade(struct drill *d);

/* drill_report.c */
void drill_print_table(struct drill *d);
int drill_print_json(struct drill *d);

#endif
