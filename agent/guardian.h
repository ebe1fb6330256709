/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that outlives this one and does what must be done if it was
 * killed. One at a time, for the process's first thread.
 */
#ifndef TWINFOLD_AGENT_GUARDIAN_H
#define TWINFOLD_AGENT_GUARDIAN_H

/*
 * Start it: it has what this process has now, descriptors and their locks
 * included, and calls `mourn` when this process has ended in whatever way.
 * Nothing that it copied is written to afterwards but shared mappings. 0, or a
 * negative errno.
 */
int guardian_start(void (*mourn)(void));

/* It is not needed any more: end it, `mourn` not called. Safe in a signal
 * handler, and when there is none. */
void guardian_end(void);

/* In a forked child: the guardian is not its own. */
void guardian_forget(void);

#endif
