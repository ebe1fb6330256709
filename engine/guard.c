/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guarded reads. The guard lives on the reader's stack; this file owns only
 * the thread's pointer to it. Nothing here may allocate or take a lock.
 */
#include "engine/guard.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

__thread struct tf_guard *volatile tf_guard_armed
	__attribute__((tls_model("initial-exec")));

static bool guard_covers(const struct tf_guard *g, uintptr_t addr)
{
	for (int i = 0; i < 2; i++)
		if (addr >= g->lo[i] && addr < g->hi[i])
			return true;
	return false;
}

bool tf_guard_covers(const void *addr)
{
	const struct tf_guard *g = tf_guard_armed;

	return g && guard_covers(g, (uintptr_t)addr);
}

void tf_guard_catch(const void *addr)
{
	struct tf_guard *g = tf_guard_armed;
	sigset_t bus;

	if (!g || !guard_covers(g, (uintptr_t)addr))
		return;
	tf_guard_armed = NULL;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
	siglongjmp(g->env, 1);
}
