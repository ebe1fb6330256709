/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who loses what, told from where other copies are at the instant of a fault:
 * another dup of the chain that is not lost, or zeros. It trusts what the
 * tables say about who shares what, which the invariants check, and nothing
 * that healing does: which pages are lost it knows from poison_trap.h.
 *
 * For the thread that holds the engine's lock.
 */
#ifndef TF_TESTS_POISON_ORACLE_H
#define TF_TESTS_POISON_ORACLE_H

#include "engine/state.h"
#include "tests/lib/poison_fate.h"

struct oracle {
	struct tf_engine *e;
	struct fates *fates;
	/* An unwritten COW frame over a lost slot heals as well. */
	bool cow_heals;
	bool copying; /* a run of pages, some of which are safe by now */
};

/*
 * This slot was noted as lost just now. The bytes of [from, to) are safe
 * elsewhere already.
 */
void oracle_slot(const struct oracle *o, const struct tf_store *s,
		 uint32_t slot, const char *from, const char *to);

/* A slot is about to be mapped: what was lost before and is not told yet, for
 * want of a source, may heal from it. */
void oracle_source(const struct oracle *o, const struct tf_store *s,
		   uint32_t slot);

/* A staged page is lost: `home` is where it came from. It is not known to
 * equal anything, or, if `judged`, it may be. */
void oracle_staged(const struct oracle *o, const char *home, bool judged);

/* The home of a staged page of the batch in hand, or NULL. */
char *oracle_home(const struct tf_engine *e, const char *staged);

/* tf_ras_inject() is about to lose what is at `addr`, which nobody shares;
 * `zero`: it is fenced and full of zeros. */
void oracle_private(const struct oracle *o, const char *addr, bool zero);

#endif
