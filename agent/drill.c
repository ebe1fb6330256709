/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twinfold drill: many memory errors, from a seed, under guests that write and
 * check all the time. This file: the options, the verdict, the exit code.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/backend.h"
#include "agent/drill.h"
#include "agent/drillhost/inside.h"
#include "agent/verbs.h"

#define DEFAULT_FAULTS 500
#define FAULTS_MAX 100000

enum {
	OPT_BACKEND = 'b',
	OPT_FAULTS = 'f',
	OPT_SEED = 's',
	OPT_JSON = 'j',
	OPT_ONLY = 'o',
	OPT_LIST = 'l',
	OPT_KERNEL = 'k',
	OPT_MODULES = 'm',
	OPT_LOGS = 'L',
	OPT_INSIDE = 0x100
};

static const struct argp_option options[] = {
	{ "backend", OPT_BACKEND, "HOW", 0,
	  "How a page is lost: sim, madvise, hwpoison or mce (sim)", 0 },
	{ "faults", OPT_FAULTS, "N", 0, "How many, 1 to 100000 (500)", 0 },
	{ "seed", OPT_SEED, "S", 0, "Which pages, and when (by the clock)", 0 },
	{ "json", OPT_JSON, NULL, 0, "One JSON object on standard output", 0 },
	{ NULL, 0, NULL, 0, "With --backend mce, in a drill host:", 1 },
	{ "only", OPT_ONLY, "NAME", 0, "This drill; may be repeated", 0 },
	{ "list", OPT_LIST, NULL, 0, "Show the drills and what they need", 0 },
	{ "kernel", OPT_KERNEL, "FILE", 0, "The drill host's kernel", 0 },
	{ "modules", OPT_MODULES, "DIR", 0, "That kernel's modules", 0 },
	{ "logs", OPT_LOGS, "DIR", 0, "Keep the kernels' logs there", 0 },
	{ "inside", OPT_INSIDE, NULL, OPTION_HIDDEN, NULL, 0 },
	{ 0 },
};

static uint64_t number(struct argp_state *state, const char *name,
		       const char *arg, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (errno || *arg < '0' || *arg > '9' || *end || n < min || n > max)
		argp_error(state,
			   "--%s is '%s'; it must be %" PRIu64 " to %" PRIu64,
			   name, arg, min, max);
	return n;
}

static bool is_mce(const struct drill_opts *o)
{
	return !o->backend->check;
}

static bool wants_host(const struct drill_opts *o)
{
	const struct matrix_opts *host = &o->host;

	return host->nonly || host->kernel || host->modules || host->logs;
}

static error_t parse_host(int key, char *arg, struct argp_state *state)
{
	struct drill_opts *o = state->input;
	struct matrix_opts *host = &o->host;

	switch (key) {
	case OPT_ONLY:
		if (!drill_case_find(arg) || host->nonly == MATRIX_DRILLS_MAX)
			argp_error(state,
				   "--only is '%s'; --list shows the drills",
				   arg);
		host->only[host->nonly++] = drill_case_find(arg);
		return 0;
	case OPT_LIST:
		o->list = true;
		return 0;
	case OPT_KERNEL:
		host->kernel = arg;
		return 0;
	case OPT_MODULES:
		host->modules = arg;
		return 0;
	case OPT_LOGS:
		host->logs = arg;
		return 0;
	case OPT_INSIDE:
		o->inside = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct drill_opts *o = state->input;

	switch (key) {
	case OPT_BACKEND:
		o->backend = drill_backend_find(arg);
		if (!o->backend)
			argp_error(state,
				   "--backend is '%s'; it must be sim, "
				   "madvise, hwpoison or mce",
				   arg);
		return 0;
	case OPT_FAULTS:
		o->faults =
			(unsigned)number(state, "faults", arg, 1, FAULTS_MAX);
		return 0;
	case OPT_SEED:
		o->seed = number(state, "seed", arg, 0, INT64_MAX);
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	case ARGP_KEY_SUCCESS:
		if (wants_host(o) && !is_mce(o))
			argp_error(state, "--only, --kernel, --modules and "
					  "--logs go with --backend mce");
		return 0;
	default:
		return parse_host(key, arg, state);
	}
}

/* One line for each thing that should not be. */
static bool none(uint64_t count, const char *what)
{
	if (count)
		fprintf(stderr, "twinfold drill: %" PRIu64 " %s\n", count,
			what);
	return !count;
}

static uint64_t sum_failures(const struct drill *d)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < DRILL_GUESTS; n++)
		sum += d->report[n].failures;
	return sum;
}

static int verdict(const struct drill *d)
{
	bool ok = none(sum_failures(d), "checks of guests failed");

	ok &= none(d->kernel_warnings, "warnings in the kernel's log");
	ok &= none(d->end.transient_failed, "errors got no verdict in time");
	ok &= faults_verdict(&d->faults, "twinfold drill", d->healed);
	ok &= none(!d->degraded,
		   "engine did not degrade as it has to when its own memory "
		   "is lost");
	ok &= none(!d->aborted,
		   "engine with the policy to abort did not end its process "
		   "by SIGBUS");
	return ok ? TF_EXIT_OK : TF_EXIT_FAILED;
}

static int run(struct drill *d)
{
	int code = drill_run(d);

	if (!code) {
		if (!d->opts.json)
			drill_print_table(d);
		else if (drill_print_json(d))
			code = TF_EXIT_FAILED;
	}
	if (!code)
		code = verdict(d);
	if (code == TF_EXIT_FAILED)
		fprintf(stderr,
			"twinfold drill: the seed was %" PRIu64 " (--seed)\n",
			d->opts.seed);
	drill_cleanup(d);
	return code;
}

static int run_backend(struct drill *d)
{
	struct drill_opts *o = &d->opts;
	int code;

	if (o->inside)
		return inside_run();
	if (o->list) {
		matrix_list();
		return TF_EXIT_OK;
	}
	if (is_mce(o)) {
		o->host.seed = o->seed;
		o->host.json = o->json;
		return matrix_run(&o->host);
	}
	code = o->backend->check();
	if (!code)
		code = backend_choose("drill", "TWINFOLD_DRILL_GUESTS",
				      &o->guests);
	return code ? code : run(d);
}

int tf_verb_drill(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Lose pages of guests that check all of their memory, "
		       "and prove what survived.",
	};
	static struct drill d;

	d.opts.backend = drill_backend_find("sim");
	d.opts.faults = DEFAULT_FAULTS;
	d.opts.seed = (uint64_t)time(NULL);
	argp_err_exit_status = TF_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &d.opts))
		return TF_EXIT_USAGE;
	return run_backend(&d);
}
