/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Losing what a call of the seam is about: finds out what lies there, has the
 * fates set, and lays the traps. What is lost already, or cannot be lost, is
 * left alone. For the thread that holds the engine's lock.
 */
#ifndef TF_TESTS_POISON_VICTIM_H
#define TF_TESTS_POISON_VICTIM_H

#include <stdbool.h>
#include <stdint.h>

struct tf_store;

/* A number below `n` of the plan's. */
unsigned victim_pick(unsigned n);

/* The store with this file, or NULL. */
const struct tf_store *victim_store(int fd);

/* Is it in the staging area? */
bool victim_in_staging(const void *p);

/*
 * A slot, the slot that is mapped for the engine at `p`, or the one that the
 * frame at `addr` shares. The bytes of frames [from, to) are elsewhere already;
 * a mapping at `fresh`, or NULL, was made a moment ago.
 */
void victim_slot(const struct tf_store *s, uint32_t slot, const char *from,
		 const char *to, const char *fresh);
void victim_bytes(const void *p);
void victim_frame(const char *addr, const char *from, const char *to);

/* Now and then: the slot of any page of any guest, instead. */
bool victim_other(const char *from, const char *to);

/* A private page of a guest. */
void victim_private(char *addr);

/* A staged page of the frame at `home`, NULL: none; see oracle_staged(). */
void victim_staged(const void *p, const char *home, bool judged);

#endif
