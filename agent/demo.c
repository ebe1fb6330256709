/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twinfold demo: guests fill, write and check their memory while the engine
 * folds their pages and heals memory errors. This file: the options, the exit
 * code.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/backend.h"
#include "agent/demo.h"
#include "agent/verbs.h"

#define DEFAULT_GUESTS 4
#define DEFAULT_MEM_MIB 8
#define DEFAULT_SECONDS 10
#define SECONDS_MAX 86400

enum {
	OPT_GUESTS = 'g',
	OPT_MEM = 'm',
	OPT_SECONDS = 's',
	OPT_JSON = 'j',
	OPT_AGENT = 'a'
};

static const struct argp_option options[] = {
	{ "guests", OPT_GUESTS, "N", 0, "How many guests, 1 to 64 (4)", 0 },
	{ "mem", OPT_MEM, "MIB", 0, "RAM of each, 2 to 1024 MiB (8)", 0 },
	{ "seconds", OPT_SECONDS, "S", 0,
	  "How long they write and check before they overwrite what is "
	  "shared, 1 to 86400 (10)",
	  0 },
	{ "agent", OPT_AGENT, NULL, 0, "Share through the host agent", 0 },
	{ "json", OPT_JSON, NULL, 0, "One JSON object on standard output", 0 },
	{ 0 },
};

static unsigned number(struct argp_state *state, const char *name,
		       const char *arg, unsigned min, unsigned max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(arg, &end, 10);
	if (errno || *arg < '0' || *arg > '9' || *end || n < min || n > max)
		argp_error(state, "--%s is '%s'; it must be %u to %u", name,
			   arg, min, max);
	return (unsigned)n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct demo_opts *o = state->input;

	switch (key) {
	case OPT_GUESTS:
		o->guests = number(state, "guests", arg, 1, DEMO_GUESTS_MAX);
		return 0;
	case OPT_MEM:
		o->mem_mib = number(state, "mem", arg, TF_WORK_MEM_MIN >> 20,
				    TF_WORK_MEM_MAX >> 20);
		return 0;
	case OPT_SECONDS:
		o->seconds = number(state, "seconds", arg, 1, SECONDS_MAX);
		return 0;
	case OPT_AGENT:
		argp_failure(state, TF_EXIT_USAGE, 0,
			     "--agent: the host agent does not exist yet");
		return EINVAL;
	case OPT_JSON:
		o->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* What has to hold; says what does not. */
static int verdict(const struct demo *d)
{
	int code = TF_EXIT_OK;

	if (demo_failures(d)) {
		fprintf(stderr, "twinfold demo: %llu checks failed\n",
			(unsigned long long)demo_failures(d));
		code = TF_EXIT_FAILED;
	}
	if (!d->merged.pages_sharing) {
		fprintf(stderr,
			"twinfold demo: nothing was shared in %u s; "
			"try more --seconds\n",
			d->opts.seconds);
		code = TF_EXIT_FAILED;
	}
	if (!faults_verdict(&d->faults, "twinfold demo", d->healed))
		code = TF_EXIT_FAILED;
	return code;
}

int tf_verb_demo(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Run guests that check every page of their memory while "
		       "their equal pages are folded, and then some are lost.",
	};
	static struct demo d;
	int code;

	d.opts.guests = DEFAULT_GUESTS;
	d.opts.mem_mib = DEFAULT_MEM_MIB;
	d.opts.seconds = DEFAULT_SECONDS;
	argp_err_exit_status = TF_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &d.opts))
		return TF_EXIT_USAGE;
	code = backend_choose("demo", "TWINFOLD_DEMO_BACKEND", &d.opts.backend);
	if (code)
		return code;
	code = demo_run(&d);
	if (d.built) {
		if (!d.opts.json)
			demo_print_table(&d);
		else if (demo_print_json(&d))
			code = TF_EXIT_FAILED;
	}
	if (!code)
		code = verdict(&d);
	demo_cleanup(&d);
	return code;
}
