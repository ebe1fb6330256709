/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What lines of a kernel's log tell of. No state, no locks. */
#ifndef TWINFOLD_AGENT_DRILLHOST_KLOG_H
#define TWINFOLD_AGENT_DRILLHOST_KLOG_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Does it tell of a fault of the kernel itself: WARNING, BUG, Oops, a panic, a
 * stall, a hung task? Machine checks and what the kernel does about lost memory
 * are no faults of it.
 */
bool klog_is_warning(const char *line);

/* How many such lines a text has; the first one, without its time and cut to
 * `room`, into ret. */
uint64_t klog_warnings(const char *text, char *ret, unsigned room);

#endif
