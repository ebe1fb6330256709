/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Losing memory of a drill host from outside: the bytes are overwritten by
 * physical address, as they are gone in real hardware, and a machine check is
 * raised there, while the machine stands still. No state, no locks.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_LOSE_H
#define TWINFOLD_AGENT_DRILLHOST_LOSE_H

#include <stdint.h>

#include "agent/drillhost/host.h"

#define LOSE_LINE_MAX 128

enum lose_how {
	LOSE_DEFERRED,  /* AMD: found by polling; action optional */
	LOSE_SRAO,      /* Intel, several CPUs: broadcast; action optional */
	LOSE_SRAR,      /* Intel, one CPU: the thread that runs consumes it */
	LOSE_CORRECTED, /* nothing is lost: counts towards a threshold */
	/* Overwritten from outside, the rest is done inside: */
	LOSE_BYTES,        /* nothing: the kernel hears of it later */
	LOSE_HARD_OFFLINE, /* hard_offline_page in /sys */
	LOSE_CORRUPT_PFN,  /* corrupt-pfn of hwpoison-inject */
	N_LOSE
};

const char *lose_name(enum lose_how how);

/* EINVAL: no such name. */
int lose_find(const char *name, enum lose_how *ret);

/* The monitor's line for it (see docs/drills.md); "" where there is none. */
void lose_line(enum lose_how how, unsigned cpu, uint64_t pa,
	       char ret[LOSE_LINE_MAX]);

/*
 * Carry out a request of the inside, and answer it: see victim.h. What the
 * channel says if the answer cannot be sent.
 */
int lose_serve(struct host *host, const json_t *request);

#endif
