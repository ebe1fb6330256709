/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory errors in the engine's own memory, which nothing heals. The signal
 * that the kernel would send is queued to the thread itself, with the address
 * of the engine's object, so the whole way through the handler is taken.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/drill.h"
#include "agent/verbs.h"

#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR 4
#define BUS_MCEERR_AO 5
#endif

static int lose(struct tf_engine *engine, int code)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = code;
	info.si_addr = engine;
	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info))
		return -errno;
	return 0;
}

/* ---- abort ---- */

/* Does not come back, if all is right. */
static void be_aborted(void)
{
	static const struct rlimit no_core = { 0, 0 };
	struct tf_engine *engine = NULL;
	struct tf_engine_opts opts;

	setrlimit(RLIMIT_CORE, &no_core);
	tf_engine_opts_init(&opts);
	opts.unrecoverable_policy = TF_POLICY_ABORT;
	if (!tf_engine_create(&opts, &engine) && !tf_ras_install(engine, NULL))
		lose(engine, BUS_MCEERR_AR);
	_exit(1);
}

int drill_abort(struct drill *d)
{
	int status = 0;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child < 0)
		return drill_fail("no child can be had", -errno);
	if (!child)
		be_aborted();
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	d->aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
	return TF_EXIT_OK;
}

/* ---- degrade ---- */

static int merges_of(struct drill *d, uint64_t *ret)
{
	struct tf_pass pass = { .size = sizeof(pass) };
	int r = tf_engine_pass(d->engine, &pass);

	*ret += pass.merged + pass.zero_merged;
	return r;
}

/* Nobody had consumed it: whoever is told goes on. */
int drill_degrade(struct drill *d)
{
	uint64_t failures = 0, merges = 0;
	struct tf_stats s = { .size = sizeof(s) };
	int r, code;

	r = lose(d->engine, BUS_MCEERR_AO);
	if (r)
		return drill_fail("no signal can be queued", r);
	code = drill_go(d, TF_WORK_RUN, 1);
	for (int i = 0; i < 3 && !r; i++)
		r = merges_of(d, &merges);
	if (!r)
		r = tf_engine_stats(d->engine, &s);
	for (unsigned n = 0; n < DRILL_GUESTS; n++)
		failures += d->report[n].failures;
	d->degraded = !r && !code && !merges && !failures &&
		      s.unrecoverable == 1;
	return code;
}
