/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the wrapped calls of the poison test's seam share. What a call is about
 * is found out from its arguments; the plan (poison_seam.h) says whether to
 * lose it. All calls that a plan can name are made under the engine's lock, but
 * the hash of a guest's page, which is made under none.
 */
#ifndef TF_TESTS_POISON_SEAM_CALLS_H
#define TF_TESTS_POISON_SEAM_CALLS_H

#include "tests/lib/poison_seam.h"

/* What this thread does beside the engine's work. */
struct seam_mine {
	const char *inject; /* the page that it injects, not yet met */
	bool injecting, staged, checking;
};

extern __thread struct seam_mine seam_mine;

/* The slot mapping made last. Under the engine's lock. */
struct seam_last {
	const char *addr;
	const struct tf_store *store;
	uint32_t slot;
	const char *moved_to;
};

extern struct seam_last seam_last;

/* While the engine exists. */
bool seam_is_on(void);
struct tf_engine *seam_engine(void);

/* Is a page to be lost at this call? Counts it. */
bool seam_due(enum poison_point point);

bool seam_guests_page(const void *p);

/* Put the calls that read or write bytes, or mappings, into `os`. */
void seam_wrap_reads(struct tf_os *os);
void seam_wrap_maps(struct tf_os *os);

#endif
