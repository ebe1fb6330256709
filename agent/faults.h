/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory errors on purpose, in pages of running workloads, and the book of
 * what has to come of each: a page whose content exists elsewhere heals and its
 * guest hears nothing; any other is one machine check, at its address. What a
 * page holds is what its guest wrote there, by the guest's own book; the engine
 * is not asked. Only one thread uses it.
 */
#ifndef TWINFOLD_AGENT_FAULTS_H
#define TWINFOLD_AGENT_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "twinfold/twinfold.h"
#include "twinfold/vmm.h"

#define FAULTS_GUESTS_MAX 64
#define FAULTS_KINDS 4 /* of enum tf_work_kind */

struct fault {
	unsigned guest; /* number, from 0 */
	struct tf_work_page page;
	bool lost; /* for good: its guest is to take a machine check ... */
	bool told; /* ... and has */
};

struct faults {
	/* The caller's: set before the first call. */
	struct tf_engine *engine;
	enum tf_inject how;
	uint64_t random;
	unsigned nguests;
	struct {
		struct tf_guest *guest;
		struct tf_work *work;
		uint64_t pages;
	} guest[FAULTS_GUESTS_MAX];

	struct fault *list;
	size_t n, room;
	uint64_t by_kind[FAULTS_KINDS];
	uint64_t expected; /* machine checks */
	uint64_t vmces;    /* that guests took */
	uint64_t strays;   /* of these, that nothing explains; the last one: */
	unsigned stray_guest;
	uint64_t stray_gpa;
};

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t faults_random(uint64_t *state);

bool faults_has_source(enum tf_work_kind kind);

/* Does this page of guest `guest` hold what `f` hit? Zeros are no content:
 * each zero page stands for itself. */
bool faults_same(const struct fault *f, unsigned guest,
		 const struct tf_work_page *page);

/*
 * A page at random of that kind that its guest does not write to, and that
 * `may` (with `user`) allows. False: none was found in a number of tries.
 */
typedef bool faults_may_fn(void *user, unsigned guest,
			   const struct tf_work_page *page);
bool faults_pick(struct faults *f, enum tf_work_kind kind, faults_may_fn *may,
		 void *user, unsigned *guest, struct tf_work_page *page);

/* How many pages of that kind there are that no guest writes to. */
uint64_t faults_count(struct faults *f, enum tf_work_kind kind);

/* Lose it. As tf_ras_inject(), ENOMEM. */
int faults_hit(struct faults *f, unsigned guest,
	       const struct tf_work_page *page);

/* It is lost by other means. ENOMEM. */
int faults_note(struct faults *f, unsigned guest,
		const struct tf_work_page *page);

/* The same, where the error took all copies of its content. For each page that
 * has that content. */
int faults_note_lost(struct faults *f, unsigned guest,
		     const struct tf_work_page *page);

/* Hand machine checks to the guests, and enter those that guests took. */
void faults_collect(struct faults *f);

/* Expected machine checks that did not come. */
uint64_t faults_missing(const struct faults *f);

/* Say on stderr what is not as expected, behind `who`. True: nothing. */
bool faults_verdict(const struct faults *f, const char *who, uint64_t healed);

void faults_fini(struct faults *f);

#endif
