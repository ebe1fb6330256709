/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of `twinfold demo` share: one run, from its options to its
 * figures. Only the main thread uses it.
 */
#ifndef TWINFOLD_AGENT_DEMO_H
#define TWINFOLD_AGENT_DEMO_H

#include <stdbool.h>
#include <time.h>

#include "agent/faults.h"
#include "twinfold/twinfold.h"
#include "twinfold/vmm.h"

#define DEMO_GUESTS_MAX 64

/* How often every page is checked in each phase, at least. */
#define DEMO_ROUNDS 2

struct demo_opts {
	unsigned guests;
	unsigned mem_mib;
	unsigned seconds; /* of phase TF_WORK_RUN */
	bool json;
	enum tf_backend backend;
};

struct demo_guest {
	struct tf_guest *guest;
	struct tf_work *work;
	struct tf_work_report report;
	struct tf_guest_stats stats; /* at the end of TF_WORK_RUN */
	uint64_t rounds;             /* that it is to do in this phase */
	uint64_t progress;           /* watchdog: last progress seen ... */
	double moved;                /* ... and when it changed */
};

struct demo {
	struct demo_opts opts;
	struct tf_engine *engine;
	struct demo_guest guest[DEMO_GUESTS_MAX];
	double began;
	/* Memory of this process: filled, nothing merged; and at the end of
	 * TF_WORK_RUN. */
	uint64_t bytes_before;
	uint64_t bytes_after;
	struct tf_stats merged; /* at the end of TF_WORK_RUN */
	struct tf_stats end;    /* when all was overwritten and checked */
	struct faults faults;   /* after that */
	uint64_t healed;        /* of them, as the engine says */
	double seconds;         /* the whole run */
	bool built; /* every guest was started: there is something to report */
	bool stuck; /* a guest stands still: its threads cannot be joined */
};

/* demo_run.c: the whole run. Returns an exit code; what went wrong is on
 * stderr. */
int demo_run(struct demo *d);
void demo_cleanup(struct demo *d);

/* demo_faults.c: lose pages of each sort in every guest. Returns an exit code.
 */
int demo_lose(struct demo *d);

/* demo_memory.c: bytes of memory that this process takes. */
int demo_memory(uint64_t *ret);

/* demo_report.c */
uint64_t demo_saved_bytes(const struct tf_stats *s);
uint64_t demo_checks(const struct demo *d);
uint64_t demo_failures(const struct demo *d);
void demo_progress(const struct demo *d, const char *phase, bool last);
void demo_print_table(const struct demo *d);
int demo_print_json(const struct demo *d);

#endif
