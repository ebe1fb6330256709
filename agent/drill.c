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
#include "agent/verbs.h"

#define DEFAULT_FAULTS 500
#define FAULTS_MAX 100000

enum {
	OPT_BACKEND = 'b',
	OPT_FAULTS = 'f',
	OPT_SEED = 's',
	OPT_JSON = 'j'
};

static const struct argp_option options[] = {
	{ "backend", OPT_BACKEND, "HOW", 0,
	  "How a page is lost: sim, madvise, hwpoison or mce (sim)", 0 },
	{ "faults", OPT_FAULTS, "N", 0, "How many, 1 to 100000 (500)", 0 },
	{ "seed", OPT_SEED, "S", 0, "Which pages, and when (by the clock)", 0 },
	{ "json", OPT_JSON, NULL, 0, "One JSON object on standard output", 0 },
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
	default:
		return ARGP_ERR_UNKNOWN;
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

int tf_verb_drill(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Lose pages of guests that check all of their memory, "
		       "and prove what survived.",
	};
	static struct drill d;
	int code;

	d.opts.backend = drill_backend_find("sim");
	d.opts.faults = DEFAULT_FAULTS;
	d.opts.seed = (uint64_t)time(NULL);
	argp_err_exit_status = TF_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &d.opts))
		return TF_EXIT_USAGE;
	code = d.opts.backend->check();
	if (!code)
		code = backend_choose("drill", "TWINFOLD_DRILL_GUESTS",
				      &d.opts.guests);
	return code ? code : run(&d);
}
