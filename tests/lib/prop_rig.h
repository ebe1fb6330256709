/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A rig: one engine on the faulty seam, one guest with two memslots, and a
 * shadow of what its memory must hold. For tests that follow one scenario
 * call by call; every call of it may fail, no byte may be wrong.
 */
#ifndef TF_TESTS_PROP_RIG_H
#define TF_TESTS_PROP_RIG_H

#include <stdint.h>

#include "tests/lib/os_fault.h"
#include "twinfold/engine.h"

#define RIG_PAGES 96u
#define RIG_SLOTS 2u
/* The second memslot begins behind a gap, in another 2 MiB block. */
#define RIG_SPLIT 48u

struct rig {
	struct os_fault fault;
	struct tf_engine_opts opts;
	struct tf_engine *engine;
	struct tf_guest *guest;
	char *base; /* the whole mapping */
	char *ram[RIG_SLOTS];
	char *shadow; /* RIG_PAGES pages */
	/* What a failing discard may have left: 1 old bytes or zeros. */
	uint8_t either[RIG_PAGES];
};

/* Map memory, set options and seam; no engine yet. */
void rig_open(struct rig *r);
void rig_close(struct rig *r);

char *rig_page(const struct rig *r, unsigned page);
uint64_t rig_gpa(unsigned page);

/* Write a whole page, or one byte, of memory and shadow. */
void rig_fill(struct rig *r, unsigned page, unsigned content);
void rig_poke(struct rig *r, unsigned page, unsigned offset, char value);

/* Every byte as it should be, or the test fails; `when` is printed. */
void rig_compare(struct rig *r, const char *when);

/* The calls of the public API, with what they do to the shadow. */
int rig_start(struct rig *r);
int rig_pass(struct rig *r);
int rig_unmerge(struct rig *r, unsigned page, unsigned pages);
int rig_discard(struct rig *r, unsigned page, unsigned pages);
void rig_end(struct rig *r);

#endif
