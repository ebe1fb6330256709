/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel seam of the poison test: the real kernel, where a page is lost
 * at the very moment of a call: the page that the call is about, or the slot
 * of another one. It also watches that nothing that is lost is ever read,
 * written or punched with success. There is one.
 */
#ifndef TF_TESTS_POISON_SEAM_H
#define TF_TESTS_POISON_SEAM_H

#include "engine/os.h"
#include "tests/lib/poison_oracle.h"
#include "tests/lib/prop.h"
#include "twinfold/ras.h"

enum poison_point {
	POINT_HASH_GUEST, /* a page that settles */
	POINT_HASH_SLOT,  /* a donor or a fresh copy that is verified */
	POINT_EQUAL,      /* a fenced page, or the slot it is compared with */
	POINT_COPY,       /* the slot of a page that breaks */
	POINT_COPY_BACK,  /* a fenced page that would not go home */
	POINT_PROMOTE,    /* a fenced page that becomes a slot */
	POINT_DONOR,      /* the slot that a fresh copy is made of */
	POINT_MAP,        /* a slot that is about to be mapped */
	POINT_PROTECT,    /* a slot that was mapped just now */
	POINT_BREAK,      /* a slot whose copy takes its place */
	POINT_MOVE_OUT,   /* a page that is about to be fenced */
	POINT_MOVE_BACK,  /* a fenced page on its way home */
	POINTS
};

struct poison_seam {
	struct tf_os os; /* for tf_engine_create_os() */
	struct oracle oracle;
	atomic_bool on; /* the engine exists, calls count */
	bool only_it;   /* never lose another page than the call is about */

	pthread_mutex_t lock; /* protects the plan */
	enum poison_point point;
	unsigned countdown; /* calls of it to let pass */
	unsigned budget;    /* pages to be lost then, one a call; 0: no plan */
	struct prop_rng rng;
	unsigned long fired[POINTS], calls[POINTS];
};

extern struct poison_seam poison_seam;

const char *poison_point_name(enum poison_point point);

/* Before the engine is created, and after. */
void poison_seam_init(struct fates *f);
void poison_seam_begin(struct tf_engine *e);
void poison_seam_end(void);

/* At the `countdown`-th call of this kind, and the next ones, lose a page. */
void poison_seam_arm(enum poison_point point, unsigned countdown,
		     unsigned budget, uint64_t seed);
void poison_seam_disarm(void);

/* tf_engine_check() without reading what is lost: that would heal it. */
void poison_seam_check(struct tf_engine *e, const char *when);

/* Lose a page with tf_ras_inject(), and set the fates at that instant. */
int poison_seam_inject(struct tf_engine *e, struct tf_guest *g, uint64_t gpa,
		       const char *addr);

#endif
