/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside a drill host: find a page's frame, and have it lost from outside. Errors are negative errno. One thread.
 *
 * A request is {"lose": HOW, "pa": N, "cpu": N[, "from": N, "to": N]}, HOW as
 * lose_name(); the answer {"error": ERRNO}, 0 when it is done.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_VICTIM_H
#define TWINFOLD_AGENT_DRILLHOST_VICTIM_H

#include "agent/drillhost/case.h"
#include "agent/drillhost/lose.h"

/* Physical address of the frame behind an address of this process. ENOENT: it
 * has none now. */
int victim_pa(const void *hva, uint64_t *ret);

/* The same, of another process. */
int victim_pa_of(pid_t pid, uint64_t hva, uint64_t *ret);

/* What the kernel says of a frame: bits of KPF_* (linux/kernel-page-flags.h). */
int victim_flags(uint64_t pa, uint64_t *ret);

/* Its bytes are gone and the machine check is raised when this returns. */
int victim_lose(struct cell *cell, uint64_t pa, enum lose_how how);

/* The same, by a machine check of that CPU: each holds one at a time. */
int victim_lose_on(struct cell *cell, uint64_t pa, enum lose_how how,
		   unsigned cpu);

/* The same, at a moment when CPU 0 runs user code in [from, to). */
int victim_lose_at(struct cell *cell, uint64_t pa, enum lose_how how,
		   const void *from, const void *to);

/* Frames that the kernel knows to be lost, by /proc/meminfo. */
int victim_count(uint64_t *ret);

/* Wait until the kernel knows of `n` lost frames; signals that it sends for
 * them have been sent then. ETIMEDOUT. */
int victim_wait(uint64_t n);

/* The kernel shall not tell this thread, nor those it starts, of lost pages before
 * they are touched (action optional): the healer asks for that otherwise. */
int victim_late(void);

#endif
