/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who gets a SIGBUS. Threads of the engine, and whoever is inside it, go to
 * the engine's handler, which knows of its guarded reads. Other threads ask
 * the engine for a verdict; what cannot be healed is QEMU's: unlike the
 * engine's own handler, which lets the thread go on and leaves a vMCE behind,
 * because QEMU tells its guests of errors itself.
 *
 * All of it runs in signal handlers: no lock. QEMU's action is in one of two
 * places, written in turn.
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "vmm/qemu/preload.h"

#define CODE_OPTIONAL 5 /* BUS_MCEERR_AO */

static struct sigaction qemus[2];
static atomic_uint current;
static struct sigaction engines;
static atomic_bool ours, engine_has, ended;
/* Handlers that may be asking the engine. */
static atomic_uint asking;

static void next_default(int sig, const siginfo_t *info)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	tq_real()->sigaction(sig, &dfl, NULL);
	/* Else the access that failed comes again, and ends us. */
	if (info->si_code <= 0 || info->si_code == CODE_OPTIONAL)
		raise(sig);
}

/* As if we were not there. */
static void next(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *a = &qemus[atomic_load(&current)];

	if (a->sa_flags & SA_SIGINFO)
		a->sa_sigaction(sig, info, context);
	else if (a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN)
		a->sa_handler(sig);
	else if (a->sa_handler == SIG_DFL || info->si_code > 0)
		next_default(sig, info);
}

static void say(const char *text, size_t len)
{
	(void)!write(STDERR_FILENO, text, len);
}

/* There is no healthy copy, or it is none of the engine's business. */
static void hand_on(int sig, siginfo_t *info, void *context)
{
	static const char lost[] =
		"twinfold: memory error, no healthy copy: it is QEMU's\n";

	say(lost, sizeof(lost) - 1);
	if (info->si_code != CODE_OPTIONAL || tq_sigmask_is_open())
		next(sig, info, context);
	else
		tq_sigmask_hand_over(info, context);
}

static bool is_healed(const struct tf_ras_verdict *v)
{
	return v->cls == TF_RAS_SHARED || v->cls == TF_RAS_RECOVERABLE ||
	       v->cls == TF_RAS_TRANSIENT;
}

static bool heal(const siginfo_t *info)
{
	struct tf_ras_verdict v = { .size = sizeof(v) };
	bool healed;

	atomic_fetch_add(&asking, 1);
	healed = !atomic_load(&ended) &&
		 !tf_ras_handle(tq_life()->engine, info, &v) && is_healed(&v);
	atomic_fetch_sub(&asking, 1);
	return healed;
}

void tq_sigbus_end(void)
{
	atomic_store(&ended, true);
	while (atomic_load(&asking))
		sched_yield();
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	if (!tq_life() || info->si_code <= 0)
		next(sig, info, context);
	else if (tq_inside && atomic_load(&engine_has))
		engines.sa_sigaction(sig, info, context);
	else if (!heal(info))
		hand_on(sig, info, context);
	errno = saved;
}

static void remember(const struct sigaction *act)
{
	unsigned other = !atomic_load(&current);

	qemus[other] = *act;
	atomic_store(&current, other);
}

int tq_sigbus_action(const struct sigaction *act, struct sigaction *old)
{
	struct sigaction was;

	if (!atomic_load(&ours))
		return tq_real()->sigaction(SIGBUS, act, old);
	was = qemus[atomic_load(&current)];
	if (act &&
	    !(act->sa_flags & SA_SIGINFO && act->sa_sigaction == on_sigbus))
		remember(act);
	if (old)
		*old = was;
	if (!act)
		tq_sigmask_handed_over();
	return 0;
}

/* The engine installs and asks for its own; before it was "ours" to go on. */
int tq_sigbus_engine_action(const struct sigaction *act, struct sigaction *old)
{
	const struct sigaction before = { .sa_sigaction = next,
					  .sa_flags = SA_SIGINFO };
	struct sigaction was = atomic_load(&engine_has) ? engines : before;

	if (act) {
		engines = *act;
		atomic_store(&engine_has, act->sa_sigaction != next);
	}
	if (old)
		*old = was;
	return 0;
}

void tq_sigbus_begin(void)
{
	struct sigaction act = { .sa_sigaction = on_sigbus,
				 .sa_flags = SA_SIGINFO | SA_ONSTACK |
					     SA_NODEFER };

	sigemptyset(&act.sa_mask);
	if (tq_real()->sigaction(SIGBUS, NULL, &qemus[0]) ||
	    tq_real()->sigaction(SIGBUS, &act, NULL)) {
		tq_say(TF_LOG_WARNING, "no SIGBUS handler: nothing is healed");
		return;
	}
	atomic_store(&ours, true);
}
