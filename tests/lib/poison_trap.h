/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Losing pages for real, at any instant: a page that is lost traps in every
 * mapping that the process has of it, whatever the engine's tables say, then
 * its bytes are overwritten. It also traps in mappings that are made later,
 * as a page of a file does that the hardware has lost.
 *
 * For the thread that holds the engine's lock. One engine at a time.
 */
#ifndef TF_TESTS_POISON_TRAP_H
#define TF_TESTS_POISON_TRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/os.h"
#include "engine/state.h"

#define TRAP_SLOTS 16384u

/* Nothing is lost yet in this engine's stores. */
void trap_begin(struct tf_engine *e);

/* Slots lost so far, and the i-th of them. */
unsigned trap_count(void);
const struct tf_store *trap_nth(unsigned i, uint32_t *slot);

bool trap_has_slot(const struct tf_store *s, uint32_t slot);

/* Does the engine's own mapping of a lost slot lie in [p, p + len)? */
bool trap_has_bytes(const void *p, size_t len);

/* Is a lost slot in [off, off + len) of this file? */
bool trap_has_file(int fd, uint64_t off, size_t len);

/* The same for slots that the engine has condemned as far as it was looked:
 * what is lost and was never met again is freed like any other. */
void trap_learn_known(void);
bool trap_has_known(int fd, uint64_t off, size_t len);

/* Book a slot as lost. False: it was, or there is no room. */
bool trap_note(const struct tf_store *s, uint32_t slot);

/* Where a slot was mapped: did the kernel copy it on write? */
bool trap_is_copy(const char *addr);

/* Make a slot trap that was noted. A mapping at `fresh`, or NULL, was made a
 * moment ago: the trap in it is not to be seen yet, see trap_hide(). */
void trap_lay(const struct tf_store *s, uint32_t slot, const char *fresh);

/* Lose a private page in place. False: it is none, or none that a trap can be
 * laid under in one step. */
bool trap_can_lose(const struct tf_block *b, unsigned page);
void trap_lose(struct tf_block *b, unsigned page);

/* Lose a page in the staging area. False: there is none. */
bool trap_staged(struct tf_engine *e, char *staged);

/* map() of a store's file: lost slots trap from the first moment. */
long trap_map(const struct tf_os *real, void *addr, size_t len, int prot,
	      int flags, int fd, uint64_t off);

/*
 * Nobody has touched a mapping that was made a moment ago: its page tables
 * are empty, whatever the hardware lost. Hide traps there in what pagemap
 * says, once.
 */
void trap_hide(const void *addr, uint64_t *entries, size_t n);

#endif
