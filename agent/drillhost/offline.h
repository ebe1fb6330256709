/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside a drill host: have the kernel take a page away, as an operator does, by
 * its files in /sys. Errors are negative errno, those of the kernel among them.
 * No state, no locks.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_OFFLINE_H
#define TWINFOLD_AGENT_DRILLHOST_OFFLINE_H

#include <stdint.h>

/* Treat the frame as lost: memory_failure() in the kernel. */
int offline_hard(uint64_t pa);

/* The same, by the module hwpoison-inject. */
int offline_corrupt_pfn(uint64_t pa);

/* Move what is there to another frame, and use this one no more. Tried again
 * while the kernel finds the page in use for a moment. */
int offline_soft(uint64_t pa);

#endif
