/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guarded read: if a memory error hits [lo, hi) while the guard is armed,
 * the read ends with -EHWPOISON instead of a dead process. One guard a
 * thread; guards do not nest. A SIGBUS handler is to ask tf_guard_catch()
 * first, as that of ras/ does.
 */
#ifndef TF_ENGINE_GUARD_H
#define TF_ENGINE_GUARD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

struct tf_guard {
	sigjmp_buf env;
	uintptr_t lo[2], hi[2]; /* the two ranges a read may touch */
};

/* Initial-exec: read in a signal handler, so it must not be allocated
 * lazily. */
extern __thread struct tf_guard *volatile tf_guard_armed
	__attribute__((tls_model("initial-exec")));

/* Async-signal-safe: does this thread's guard cover `addr`? */
bool tf_guard_covers(const void *addr);

/*
 * Async-signal-safe. Does not return if `addr` lies in what this thread's
 * guard covers; SIGBUS is unblocked and the guarded read returns -EHWPOISON.
 */
void tf_guard_catch(const void *addr);

#endif
