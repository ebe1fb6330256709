/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel seam of the healing tests: the real kernel, with the next calls
 * of a kind made to fail. There is one; a case starts with ras_seam_set().
 */
#ifndef TF_TESTS_UNIT_RAS_SEAM_H
#define TF_TESTS_UNIT_RAS_SEAM_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/unit_ras.h"

#define RAS_SEAM_LOST 16u

struct ras_seam {
	char *victim;            /* page that MAP_FIXED refuses */
	atomic_uint map_fails;   /* so many times */
	atomic_uint write_errno; /* of every write to the store */
	atomic_bool lose_fresh;  /* what is written now reads as poison */
	atomic_bool lose_all;    /* so does every slot */
	uint64_t fresh_off;
	/* Of the next copies: as soon as one is mapped, it reads as poison. */
	atomic_uint lose_mapped;
	atomic_uint nlost;
	uint64_t lost_off[RAS_SEAM_LOST];
	struct tf_engine *e;
	/* Before the `nth` map at RAM, let `other` have the lock. */
	atomic_uint nth;
	void *(*other)(void *);
	void *other_arg;
	pthread_t thread;
};

extern struct ras_seam ras_seam;

/* Between ras_init() and ras_open(); then set `ras_seam.e`. */
void ras_seam_set(struct unit_ras *w);

/* ras_chain(), with the seam set. */
void ras_seam_open(struct unit_ras *w, unsigned max, unsigned pages);

/* Count down; false if it was 0. */
bool ras_seam_take(atomic_uint *n);

/* The map() of the seam, for one that refuses more. */
long ras_seam_map(const struct tf_os *os, void *addr, size_t len, int prot,
		  int flags, int fd, uint64_t off);

#endif
