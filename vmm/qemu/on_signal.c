/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interposed: signals. What QEMU does about SIGBUS is kept for when the engine
 * cannot heal; every other signal is none of our business. No lock. */
#include <errno.h>

#include "vmm/qemu/preload.h"

int tq_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
	TQ_EXPORT("sigaction");
void (*tq_signal(int sig, void (*handler)(int)))(int) TQ_EXPORT("signal");

int tq_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	if (sig == SIGBUS)
		return tq_sigbus_action(act, old);
	return tq_real()->sigaction(sig, act, old);
}

/* As the C library: BSD semantics. */
void (*tq_signal(int sig, void (*handler)(int)))(int)
{
	struct sigaction act = { .sa_handler = handler,
				 .sa_flags = SA_RESTART },
			 old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&act.sa_mask);
	sigaddset(&act.sa_mask, sig);
	if (tq_sigaction(sig, &act, &old))
		return SIG_ERR;
	return old.sa_handler;
}
