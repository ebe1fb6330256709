/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps of random operations on the model's guests and an engine: what they do
 * to memory (model_memory.c), and what comes and goes, memslots, pins and
 * guests (model_slots.c). Each step fails the test itself. There is one run.
 */
#ifndef TF_TESTS_MODEL_RUN_H
#define TF_TESTS_MODEL_RUN_H

#include "tests/lib/model.h"
#include "tests/lib/prop.h"
#include "tests/lib/prop_app.h"

struct model_run {
	struct prop_rng rng;
	struct prop_app app;
	struct tf_engine *engine;
	struct model_guest guests[MODEL_GUESTS];
	bool background;
	uint64_t merged, zeroed, bridged, passes; /* it was worth it */
	char options[100];  /* of this epoch, for a failure's message */
	uint64_t left_over; /* memory refused: the kernel had copied there */
};

extern struct model_run model_run;

/* ---- choices ---- */

struct model_range {
	unsigned page, pages;
};

unsigned model_below(unsigned n);
/* Some pages of an area; runs are short more often than not. */
struct model_range model_any_range(unsigned max);
struct model_guest *model_any_guest(void);
/* One that the engine knows, or NULL. */
struct model_guest *model_live_guest(void);

/* ---- steps ---- */

void model_step_fill(void);
void model_step_write(void);
/* A pass; every other one while the application writes. */
void model_step_pass(void);
void model_step_unmerge(void);
void model_step_discard(void);

void model_step_pin(void);
void model_step_unpin(void);
void model_step_add(void);
void model_step_del(void);
/* One that the engine does not know is created; else it is destroyed. */
void model_step_guest(void);

/* With a memslot for each area. */
void model_guest_create(struct model_guest *g);
/* The engine forgets the guest; its memory goes on. */
void model_guest_forget(struct model_guest *g);

/* Every byte of every guest, in the application's thread. */
void model_compare_all(void);

#endif
