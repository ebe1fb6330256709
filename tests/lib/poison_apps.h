/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guests of the poison test do, in two application threads: writing,
 * looking at every byte, meeting at one page. Each thread has pages that it
 * alone writes while both run, so that a page has one shadow. There is one set
 * of threads.
 */
#ifndef TF_TESTS_POISON_APPS_H
#define TF_TESTS_POISON_APPS_H

#include "tests/lib/poison_fate.h"
#include "tests/lib/prop.h"

#define POISON_APPS 2u

struct poison_range {
	unsigned guest, page, pages;
};

/* Up to `max` pages of some area of some guest. */
struct poison_range poison_range(struct prop_rng *rng, unsigned max);

void poison_apps_start(struct fates *f);
void poison_apps_stop(void);

/* The engine that a failure is explained with, or NULL. */
void poison_apps_watch(struct tf_engine *e);

/* The first thread fills pages with contents `content`, + step, ...; or, if
 * `road` is not 0, with a road of names from there on (model_road_name()). */
void poison_apps_fill(struct poison_range r, unsigned content, unsigned step,
		      unsigned road);

/* Thread `app` makes up to `n` writes and looks. */
void poison_apps_write(unsigned app, unsigned n, uint64_t seed);

/* Every page is as its fate allows, or the test fails. */
void poison_apps_look(unsigned app, struct poison_range r);
void poison_apps_look_at_all(void);

/* Both write at full speed, until poison_apps_rest(). */
void poison_apps_hurry(uint64_t seed);
void poison_apps_rest(void);

/* Both write to one page at once; both writes are there afterwards. */
void poison_apps_meet(struct poison_range r);

/* fates_touch() and fates_end(). */
void poison_apps_touch(void);
void poison_apps_end(void);

#endif
