/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SIGBUS handler of the process, and the engines that it asks.
 *
 * The list of engines is the library's one piece of global mutable state with
 * data in it, because a signal handler is the process's: sixteen pointers,
 * read without a lock. An engine leaves the list first, then waits for the
 * handlers that were inside.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "engine/guard.h"
#include "ras/internal.h"

#define ENGINES 16

static _Atomic(struct tf_engine *) engines[ENGINES];

/* Handlers that read `engines` just now. */
static _Atomic unsigned readers;

/* Under install_lock, as changes of `engines` are. */
static unsigned users;
static bool buried;             /* another handler lies over ours ... */
static struct sigaction above;  /* ... this one, and calls it, we hope */
static struct sigaction before; /* read by the handler once installed */

/* Caller is counted in `readers`. */
static struct tf_ras *enter(struct tf_engine *e)
{
	struct tf_ras *ras = e ? atomic_load(&e->ras) : NULL;

	if (ras)
		atomic_fetch_add(&ras->users, 1);
	return ras;
}

struct tf_ras *ras_enter(struct tf_engine *e)
{
	struct tf_ras *ras;

	atomic_fetch_add(&readers, 1);
	ras = enter(e);
	atomic_fetch_sub(&readers, 1);
	return ras;
}

/* The list is read while counted: an engine that has left it waits for us
 * before it ends. */
static struct tf_ras *enter_listed(int i)
{
	struct tf_ras *ras;

	atomic_fetch_add(&readers, 1);
	ras = enter(atomic_load(&engines[i]));
	atomic_fetch_sub(&readers, 1);
	return ras;
}

void ras_leave(struct tf_ras *ras)
{
	atomic_fetch_sub(&ras->users, 1);
}

/* As if we were not there. */
static void next_handler(int sig, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(sig, info, context);
		return;
	}
	if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(sig);
		return;
	}
	if (before.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	/* The access that failed, or the signal, comes again and ends us. */
	signal(sig, SIG_DFL);
	if (info->si_code <= 0 || info->si_code == MCEERR_AO)
		raise(sig);
}

/* The engine's own reads do not wait for anybody. */
static void catch_guarded(const void *addr)
{
	if (!tf_guard_covers(addr))
		return;
	if (ras_healing)
		tf_guard_catch(addr); /* it knows */
	for (int i = 0; i < ENGINES; i++) {
		struct tf_ras *ras = enter_listed(i);

		if (!ras)
			continue;
		ras_note(ras, addr);
		ras_leave(ras);
	}
	tf_guard_catch(addr);
}

static bool abort_wanted(const struct tf_ras *ras, int err)
{
	return err == -ENOTRECOVERABLE &&
	       ras->engine->opts.unrecoverable_policy == TF_POLICY_ABORT;
}

/* One engine's answer. Nothing is NOT_OURS to an engine that is not there. */
static int answer_of(int i, const siginfo_t *info, struct tf_ras_verdict *v,
		     bool *abort_ret)
{
	struct tf_ras *ras = enter_listed(i);
	int err;

	v->cls = TF_RAS_NOT_OURS;
	if (!ras)
		return 0;
	err = ras_judge(ras, info, v);
	*abort_ret = abort_wanted(ras, err);
	ras_leave(ras);
	return err;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	struct tf_ras_verdict v = { .size = sizeof(v) };

	if (info->si_code <= 0) { /* sent by a process: no memory error */
		next_handler(sig, info, context);
		return;
	}
	catch_guarded(info->si_addr);
	for (int i = 0; i < ENGINES; i++) {
		bool must_abort = false;
		int err = answer_of(i, info, &v, &must_abort);

		if (must_abort) {
			signal(sig, SIG_DFL);
			raise(sig);
			return;
		}
		if (ras_is_early(info))
			continue; /* all engines hear of it */
		if (!err && v.cls != TF_RAS_NOT_OURS)
			return;
		/* Nobody has consumed it: whatever it is, life goes on. */
		if (err && info->si_code == MCEERR_AO)
			return;
	}
	if (!ras_is_early(info))
		next_handler(sig, info, context);
}

/* Then putting ours on top would make a ring of the two. */
static bool is_buried_still(void)
{
	struct sigaction now;

	return buried && !sigaction(SIGBUS, NULL, &now) &&
	       now.sa_sigaction == above.sa_sigaction;
}

static int handler_install(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO | SA_ONSTACK |
					    SA_NODEFER };

	if (users || is_buried_still())
		return 0;
	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, &before) ? -errno : 0;
}

/* Somebody may have put a handler over ours: then it stays. */
static void handler_remove(void)
{
	struct sigaction now;

	if (users || sigaction(SIGBUS, NULL, &now))
		return;
	buried = !(now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigbus);
	above = now;
	if (!buried)
		sigaction(SIGBUS, &before, NULL);
}

int ras_signal_get(void)
{
	int err = handler_install();

	users += !err;
	return err;
}

void ras_signal_put(void)
{
	users--;
	handler_remove();
}

int ras_signal_list(struct tf_engine *e)
{
	for (int i = 0; i < ENGINES; i++) {
		if (atomic_load(&engines[i]))
			continue;
		atomic_store(&engines[i], e);
		return 0;
	}
	return -ENOSPC;
}

void ras_signal_unlist(const struct tf_engine *e)
{
	for (int i = 0; i < ENGINES; i++)
		if (atomic_load(&engines[i]) == e)
			atomic_store(&engines[i], NULL);
}

void ras_signal_drain(const struct tf_ras *ras)
{
	while (atomic_load(&readers) || atomic_load(&ras->users))
		sched_yield();
}
