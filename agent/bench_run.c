/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a case: changes the host's settings, measures each side in a forked
 * child with a fresh address space, and takes medians over the runs. The
 * child sends its JSON object through a pipe and never prints to stdout. The
 * parent has one thread.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/bench.h"
#include "agent/knob.h"
#include "agent/ksm.h"

static _Noreturn void child_main(const struct bench_opts *opts,
				 const struct bench_side *model, int fd)
{
	struct bench_side side = *model;
	json_t *out = json_object();
	int code = TF_EXIT_FAILED;

	knob_forget();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (out)
		code = opts->cas->measure(opts, &side, out);
	if (!code && json_dumpfd(out, fd, JSON_COMPACT))
		code = bench_fail(TF_EXIT_FAILED, "cannot send the result");
	fflush(stderr);
	_exit(code);
}

/* The child is known to the restorer before a signal can arrive. */
static pid_t start_child(const struct bench_opts *opts,
			 const struct bench_side *side, const int fds[2])
{
	sigset_t all, old;
	pid_t pid;

	fflush(NULL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (!pid) {
		close(fds[0]);
		sigprocmask(SIG_SETMASK, &old, NULL);
		child_main(opts, side, fds[1]);
	}
	knob_watch_child(pid);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return pid;
}

static int reap(pid_t pid, const char *name)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return bench_fail(TF_EXIT_FAILED, "waitpid: %s",
					  strerror(errno));
	knob_watch_child(0);
	if (WIFSIGNALED(status))
		return bench_fail(TF_EXIT_FAILED, "the %s side died: %s", name,
				  strsignal(WTERMSIG(status)));
	return WEXITSTATUS(status);
}

static int run_side(const struct bench_opts *opts,
		    const struct bench_side *side, json_t **ret)
{
	json_t *result;
	int fds[2], code;
	pid_t pid;

	if (pipe(fds))
		return bench_fail(TF_EXIT_FAILED, "pipe: %s", strerror(errno));
	pid = start_child(opts, side, fds);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return bench_fail(TF_EXIT_FAILED, "cannot fork");
	}
	result = json_loadfd(fds[0], 0, NULL);
	close(fds[0]);
	code = reap(pid, side->name);
	if (!code && !result)
		code = bench_fail(TF_EXIT_FAILED, "the %s side sent nothing",
				  side->name);
	if (code)
		json_decref(result);
	else
		*ret = result;
	return code;
}

static json_t *describe(const struct bench_opts *opts)
{
	unsigned long long maps = 0;
	json_t *top = json_object();

	knob_read_u64(KNOB_MAX_MAP_COUNT, &maps);
	json_object_set_new(top, "case", json_string(opts->cas->name));
	if (opts->cas->shapes) {
		json_object_set_new(
			top, "shape",
			json_string(bench_shape_names[opts->shape]));
		bench_set_int(top, "mem_mib", opts->mem_mib);
	}
	bench_set_int(top, "max_map_count", (int64_t)maps);
	bench_set_int(top, "seed", opts->seed);
	return top;
}

static int clear_ksm(void)
{
	int err = ksm_clear();

	if (!err)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_FAILED, "KSM: cannot clear it: %s",
			  strerror(-err));
}

static int run_once(const struct bench_opts *opts, json_t **ret)
{
	json_t *twinfold = NULL, *ksm = NULL;
	const struct bench_side *ours =
		opts->scatter_ksm ? &bench_twinfold_ksm : &bench_twinfold;
	int code = run_side(opts, ours, &twinfold);

	if (!code && opts->scatter_ksm)
		code = clear_ksm();
	if (!code && opts->vs_ksm) {
		code = clear_ksm();
		code = code ? code : run_side(opts, &bench_ksm, &ksm);
	}
	if (!code) {
		*ret = describe(opts);
		opts->cas->join(opts, *ret, twinfold, ksm);
	}
	json_decref(twinfold);
	json_decref(ksm);
	return code;
}

static json_t *median_number(const json_t *runs, const char *outer,
			     const char *key)
{
	size_t n = json_array_size(runs);
	double *values = calloc(n, sizeof(*values));
	double median;

	for (size_t i = 0; values && i < n; i++) {
		json_t *run = json_array_get(runs, i);

		values[i] = bench_get(outer ? json_object_get(run, outer) : run,
				      key);
	}
	median = values ? bench_median(values, n) : 0;
	free(values);
	return json_real(median);
}

/* Replace the numbers of `object`, the member `outer` of each run's result. */
static void put_medians(json_t *object, const json_t *runs, const char *outer)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value) {
		if (json_is_object(value)) {
			put_medians(value, runs, key);
		} else if (json_is_number(value)) {
			json_t *m = median_number(runs, outer, key);
			double x = json_real_value(m);

			if (json_is_integer(value)) {
				json_decref(m);
				m = json_integer((json_int_t)x);
			}
			json_object_set_new(object, key, m);
		}
	}
}

static int run_all(const struct bench_opts *opts, json_t **ret)
{
	json_t *runs = json_array(), *result;
	int code;

	for (unsigned i = 0; i < opts->runs; i++) {
		json_t *one = NULL;

		code = run_once(opts, &one);
		if (code) {
			json_decref(runs);
			return code;
		}
		json_array_append_new(runs, one);
	}
	result = json_deep_copy(json_array_get(runs, 0));
	if (opts->runs > 1) {
		put_medians(result, runs, NULL);
		json_object_set(result, "runs", runs);
	}
	json_decref(runs);
	*ret = result;
	return TF_EXIT_OK;
}

/* Two mappings for every page, and what a process has by default. */
static int set_map_count(const struct bench_opts *opts)
{
	unsigned long long now = 0, want;
	char text[32];
	int err = knob_read_u64(KNOB_MAX_MAP_COUNT, &now);

	want = 2 * bench_pages(opts->mem_mib) + 65530;
	if (opts->max_map_count)
		want = opts->max_map_count;
	else if (!opts->cas->raises_map_count || now >= want)
		return TF_EXIT_OK;
	snprintf(text, sizeof(text), "%llu", want);
	err = err ? err : knob_set(KNOB_MAX_MAP_COUNT, text);
	if (!err)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_HOST,
			  "cannot set vm.max_map_count to %s: "
			  "%s; run as root",
			  text, strerror(-err));
}

static int set_up_ksm(const struct bench_opts *opts)
{
	const char *why = "";
	int err = ksm_usable(&why);
	uint64_t ns;

	if (err)
		return bench_fail(TF_EXIT_HOST, "%s", why);
	if (ksm_cpu_ns(&ns))
		return bench_fail(TF_EXIT_HOST,
				  "the CPU time of ksmd cannot "
				  "be read in /proc; run outside a container");
	err = ksm_setup(opts->shape == BENCH_ZERO || opts->cas->real_guests);
	if (!err)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_HOST, "KSM: cannot set it up: %s",
			  strerror(-err));
}

int bench_run(const struct bench_opts *opts, json_t **ret)
{
	int err = knob_guard();
	int code;

	if (err)
		return bench_fail(
			TF_EXIT_HOST, "%s",
			err == -EBUSY ? "another bench runs now; wait for it" :
					strerror(-err));
	code = set_map_count(opts);
	if (!code && (opts->vs_ksm || opts->scatter_ksm))
		code = set_up_ksm(opts);
	code = code ? code : run_all(opts, ret);
	knob_restore();
	return code;
}
