/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this process has: descriptors, mappings, threads. Needs no engine, and
 * takes no lock; what cannot be read ends the test.
 */
#ifndef TF_TESTS_LIB_PROCESS_H
#define TF_TESTS_LIB_PROCESS_H

#include <sys/types.h>

unsigned process_fds(void);
unsigned process_maps(void);

/*
 * Threads that have not ended: one that was joined may be listed for a moment
 * more, and is not counted. Nor are the kernel's own that work for io_uring,
 * which end when they like.
 */
unsigned process_threads(void);

/* Those that have all of these of the kernel's flags (PF_...). `last` is set to
 * one of them, if there is any. */
unsigned process_threads_with(unsigned flags, pid_t *last);

#endif
