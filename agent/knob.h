/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settings of the whole host that a measurement changes for its duration:
 * one-line files under /sys and /proc. Each keeps its first value, and all
 * are put back, the last one first, by knob_restore(), at exit, and when a
 * signal ends the process: by itself, or, where it was killed, by a guardian
 * (guardian.h).
 *
 * One process at a time: knob_guard() holds a lock on the host's settings.
 * For one thread; a forked child must call knob_forget() first.
 */
#ifndef TWINFOLD_AGENT_KNOB_H
#define TWINFOLD_AGENT_KNOB_H

#include <stddef.h>
#include <sys/types.h>

#define KNOB_MAX_MAP_COUNT "/proc/sys/vm/max_map_count"

/*
 * Begin: lock out other processes that do the same, arrange for the
 * restoring. Before there is any memory to be measured: the guardian is a
 * fork. Once in a process. 0, -EBUSY when another process holds the lock, or what the
 * kernel says.
 */
int knob_guard(void);

/* Save the setting's value (once) and write another. */
int knob_set(const char *path, const char *value);

/* Write this first when restoring, whatever the value was. */
int knob_on_restore(const char *path, const char *value);

/* Put everything back. Safe in a signal handler. */
void knob_restore(void);

/* Kill and reap this child before restoring; 0 = none. */
void knob_watch_child(pid_t pid);

/* In a forked child: restore nothing, die as by default. */
void knob_forget(void);

/* A setting as text without its newline, of a list the one in brackets. */
int knob_read(const char *path, char *ret, size_t bytes);
int knob_read_u64(const char *path, unsigned long long *ret);
int knob_write(const char *path, const char *value);

#endif
