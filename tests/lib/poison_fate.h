/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What memory errors may do to the pages of the model: each page has a fate,
 * set at the instant of a fault by who knows what other copies there are
 * (poison_oracle.h), and ended by fates_end(), which holds the vMCEs that the
 * guests were told against it.
 *
 * A page that was told reads as zeros wherever nobody wrote since, so each
 * byte of it is 0 or what was written last. All other pages are exact.
 */
#ifndef TF_TESTS_POISON_FATE_H
#define TF_TESTS_POISON_FATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/model.h"

enum fate {
	FATE_SAFE,   /* not lost, or there is a source: no vMCE */
	FATE_GONE,   /* was lost, then discarded: one vMCE at most, exact */
	FATE_EITHER, /* a copy was in the making: healed, or told once */
	FATE_DOOMED, /* no source: one vMCE */
};

struct fates {
	struct model_guest guests[MODEL_GUESTS];
	_Atomic uint8_t fate[MODEL_GUESTS][MODEL_BANK_PAGES];
	uint8_t told[MODEL_GUESTS][MODEL_BANK_PAGES];
	uint64_t doomed, told_all;
};

struct fate_page {
	unsigned guest, page;
};

/* The page at `addr`; false: no guest's. */
bool fates_find(const struct fates *f, const void *addr, struct fate_page *ret);

enum fate fates_of(const struct fates *f, struct fate_page p);

/* The page at `addr` is lost without a source, or perhaps without. */
void fates_doom(struct fates *f, const void *addr);
void fates_maybe(struct fates *f, const void *addr);

/* A source for the page at `addr`, lost but perhaps not told, has come up. */
void fates_hope(struct fates *f, const void *addr);

/* The guest gave them up. */
void fates_discarded(struct fates *f, unsigned guest, unsigned page,
		     unsigned pages);

/* Does the page read as its fate allows? Touches it. */
bool fates_page_is_right(const struct fates *f, struct fate_page p);

/* Touch every page that is not safe. In the application's thread. */
void fates_touch(const struct fates *f);

/* Take every vMCE that waits, and hold them against the fates; fails the
 * test, with `when`. Nothing is to be healed any more. */
void fates_take(struct fates *f, struct tf_engine *e, const char *when);

/* What told pages hold now is what they hold; all are safe again. In the
 * application's thread. */
void fates_end(struct fates *f);

#endif
