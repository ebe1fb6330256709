/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps of random operations on the model's guests and an engine, while pages
 * are lost: between them and, by poison_seam.h, inside of them. Each step fails
 * the test itself. There is one run.
 */
#ifndef TF_TESTS_POISON_RUN_H
#define TF_TESTS_POISON_RUN_H

#include "tests/lib/poison_fate.h"
#include "tests/lib/prop.h"

/* What can be left out, to look for something else. */
enum poison_gap {
	POISON_GAP_COW,    /* unwritten COW frames over a lost slot heal */
	POISON_GAP_DELETE, /* lost pages heal before their memslot goes */
	POISON_GAPS
};

struct poison_run {
	struct prop_rng rng;
	struct tf_engine *engine;
	struct fates fates;
	bool strict[POISON_GAPS];
	uint64_t vmces_before; /* told in this engine's life */
	uint64_t merged, bridged, heals, injected, lost;
};

extern struct poison_run poison_run;

unsigned poison_below(unsigned n);

void poison_step_fill(void);
void poison_step_write(void);
void poison_step_pass(void);
void poison_step_inject(void);
void poison_step_look(void);
void poison_step_meet(void);
void poison_step_unmerge(void);
void poison_step_pin(void);
void poison_step_discard(void);
void poison_step_collect(void);
void poison_step_look_at_all(void);
void poison_step_replace(void);

/* Memslot `i` of the guest, where the kernel has copied nothing by itself. */
void poison_add_slot(struct model_guest *g, unsigned i);

#endif
