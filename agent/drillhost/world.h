/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside a drill host: guests of the lightweight VMM that check all of their
 * memory, with an engine (ROW_TWINFOLD) or with the kernel's KSM (ROW_BASELINE).
 * What it learns goes into the cell's row.
 *
 * Functions that return int return 0, or a negative errno and have blamed the
 * row. A drill's process ends with it, so nothing is taken down. For the cell's own
 * thread.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_WORLD_H
#define TWINFOLD_AGENT_DRILLHOST_WORLD_H

#include <pthread.h>

#include "agent/drillhost/victim.h"
#include "agent/faults.h"

#define WORLD_GUESTS_MAX 8

struct world_opts {
	enum tf_backend backend;
	unsigned guests;  /* 0: 2 */
	unsigned mem_mib; /* of each; 0: 4 */
	bool spread; /* the memory of each guest on a NUMA node of its own */
	struct tf_engine_opts engine; /* size 0: world_engine_opts(); of it
				       * merge_across_nodes goes for the
				       * baseline as well */
};

/* The engine's defaults, and two copies of every content. */
void world_engine_opts(struct tf_engine_opts *ret);

struct world {
	struct cell *cell;
	struct world_opts opts;
	struct tf_engine *engine; /* NULL in the baseline */
	struct faults faults;
	struct tf_work_report report[WORLD_GUESTS_MAX];
	uint64_t corrupted; /* frames lost before the first fault, and since */
	pthread_mutex_t lock; /* of the row's heal_us */
};

/* Engine, guests, memory filled, and merged as far as it can be. The guests
 * have done nothing but fill their memory when this returns, and rest. */
int world_create(struct cell *cell, const struct world_opts *opts,
		 struct world *world);

/* Until every guest has checked all its pages `more` times in `phase`. The guests
 * go on after that. */
int world_rounds(struct world *world, enum tf_work_phase phase, uint64_t more);

/* Read the guests' reports and take their machine checks. ESRCH: one died. */
int world_look(struct world *world);

/* Hold the guests still: nothing is read between the loss of bytes and the
 * machine check, as in hardware. Threads rest in TF_WORK_FILL only. */
int world_pause(struct world *world);
int world_resume(struct world *world);

struct world_victim {
	unsigned guest;
	struct tf_work_page page;
	char *hva;
	uint64_t pa;
};

/* A page of that kind that no guest writes to and that was not lost before. */
int world_pick(struct world *world, enum tf_work_kind kind,
	       struct world_victim *ret);

/* The frame behind an address of this process, which is touched for it. */
int world_pa(const char *hva, uint64_t *ret);

/* Lose it, and wait until the kernel knows it. Guests hold still. */
int world_lose(struct world *world, const struct world_victim *victim,
	       enum lose_how how);

/* While guests hold still: until the engine has dealt with everything that was
 * lost, because the kernel told it. Nothing to do in the baseline. */
int world_early(struct world *world);

/* It is lost by other means: enter it into the book of what must come. */
int world_book(struct world *world, const struct world_victim *victim);

/* All copies of its content are lost: all pages with it enter the book. */
int world_book_lost(struct world *world, const struct world_victim *victim);

/* Several at the same time, that are in the book: one by each CPU. */
int world_lose_all(struct world *world, const struct world_victim *victims,
		   unsigned n, enum lose_how how);

/* Lose a frame, and wait until the kernel knows it; nothing enters the book. */
int world_lose_pa(struct world *world, uint64_t pa, enum lose_how how);

/* A frame that holds a content. */
struct world_copy {
	uint64_t pa;
	int node;
	const char *hva; /* one page that is there */
};

/* The frames that hold the content of a page, seen through all pages that have
 * it. How many there are, at most `room`, or a negative errno. */
int world_copies(struct world *world, const struct world_victim *victim,
		 struct world_copy *ret, unsigned room);

/*
 * Have the kernel move what is in a frame of this process before it fails: by
 * soft_offline_page in /sys, or by corrected errors until the kernel does it by
 * itself. It has moved when this returns 0. An error blames nobody: EBUSY is what the
 * kernel says of a page that is in use. Guests may run.
 */
int world_move(struct world *world, const char *hva, bool corrected);

/*
 * Every guest checks all of its memory, writes to all that is shared, checks
 * it again, and stops. Then the verdict: no wrong byte, a machine check for
 * every page lost for good and for no other, all else healed. In the baseline
 * only the outcome is told.
 */
void world_finish(struct world *world);

/* A whole drill of one fault, for both configurations. */
struct world_fault {
	struct world_opts opts;
	enum tf_work_kind kind;
	enum lose_how how;
	bool early; /* the engine is to hear of it before a touch */
};
void world_one_fault(struct cell *cell, const struct world_fault *fault);

/* A whole drill of one page that moves before it fails, likewise. */
void world_one_move(struct cell *cell, const struct world_opts *opts,
		    enum tf_work_kind kind, bool corrected);

#endif
