/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line of `twinfold bench`. Every value is checked here, before
 * anything of the host is touched; a bad one ends the process with
 * TF_EXIT_USAGE and the valid choices. No state, no locks.
 */
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/bench_qemu.h"

const char *const bench_shape_names[] = {
	[BENCH_SCATTERED] = "scattered",
	[BENCH_RUNS] = "runs",
	[BENCH_ZERO] = "zero",
	[BENCH_UNIQUE] = "unique",
};

#define N_SHAPES (sizeof(bench_shape_names) / sizeof(bench_shape_names[0]))

static const struct bench_case *const cases[] = {
	&bench_converge, &bench_steady, &bench_churn, &bench_sparse,
	&bench_memory,   &bench_fence,  &bench_heal,  &bench_qemu,
};

#define N_CASES (sizeof(cases) / sizeof(cases[0]))

enum {
	OPT_SHAPE = 256,
	OPT_VS,
	OPT_SCATTER,
	OPT_MEM,
	OPT_DIRTY,
	OPT_MAP_COUNT,
	OPT_JSON,
	OPT_RUNS,
	OPT_ROUNDS,
	OPT_PATTERN,
	OPT_PASSES,
	OPT_TIB,
	OPT_WRITERS,
	OPT_SECONDS,
	OPT_GUESTS,
	OPT_PAIRS,
	OPT_KERNEL,
	OPT_SEED,
};

static const struct argp_option options[] = {
	{ "shape", OPT_SHAPE, "SHAPE", 0,
	  "scattered (default), runs, zero or unique", 0 },
	{ "vs", OPT_VS, "ksm", 0, "measure KSM too, in the same run", 0 },
	{ "scatter", OPT_SCATTER, "ksm", 0,
	  "hand to the kernel's KSM what no mapping is left for", 0 },
	{ "mem", OPT_MEM, "MIB", 0, "memory that is scanned", 0 },
	{ "dirty", OPT_DIRTY, "FRACTION", 0,
	  "steady: part of the unique pages that is rewritten before each "
	  "pass (default 0)",
	  0 },
	{ "max-map-count", OPT_MAP_COUNT, "N", 0,
	  "run with this vm.max_map_count (default: as many as needed)", 0 },
	{ "runs", OPT_RUNS, "N", 0, "report medians of N runs", 0 },
	{ "rounds", OPT_ROUNDS, "N", 0, "churn: rounds (default 10)", 0 },
	{ "pattern", OPT_PATTERN, "PATTERN", 0,
	  "churn: rewrite pages in random (default) or sequential order", 0 },
	{ "passes", OPT_PASSES, "N", 0,
	  "steady: passes that are measured (default 30)", 0 },
	{ "tib", OPT_TIB, "N", 0, "sparse: size in TiB (default 32)", 0 },
	{ "writers", OPT_WRITERS, "N", 0,
	  "fence: writer threads (default: CPUs less one)", 0 },
	{ "seconds", OPT_SECONDS, "S", 0,
	  "fence: duration; qemu: of each measurement (default 5)", 0 },
	{ "guests", OPT_GUESTS, "N", 0, "qemu: guests (default 3)", 0 },
	{ "pairs", OPT_PAIRS, "N", 0,
	  "qemu: paired runs of a guest's throughput (default 3)", 0 },
	{ "kernel", OPT_KERNEL, "FILE", 0,
	  "qemu: the guests' kernel (default: in build-guest/ or /boot)", 0 },
	{ "seed", OPT_SEED, "N", 0, "seed of contents and choices", 0 },
	{ "json", OPT_JSON, NULL, 0, "one JSON object on stdout", 0 },
	{ 0 },
};

static unsigned number(struct argp_state *state, const char *option,
		       const char *arg, unsigned min, unsigned max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || value < min ||
	    value > max)
		argp_error(state, "--%s %s: want a whole number from %u to %u",
			   option, arg, min, max);
	return (unsigned)value;
}

static double real(struct argp_state *state, const char *option,
		   const char *arg, double min, double max)
{
	char *end;
	double value = strtod(arg, &end);

	if (end == arg || *end || !(value >= min && value <= max))
		argp_error(state, "--%s %s: want a number from %g to %g",
			   option, arg, min, max);
	return value;
}

static enum bench_shape shape(struct argp_state *state, const char *arg)
{
	for (size_t i = 0; i < N_SHAPES; i++)
		if (!strcmp(arg, bench_shape_names[i]))
			return (enum bench_shape)i;
	argp_error(state,
		   "unknown shape '%s'; shapes: scattered, runs, zero, "
		   "unique",
		   arg);
	return BENCH_SCATTERED;
}

static char *case_list(const char *before, const char *separator,
		       bool summaries)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	fputs(before, out);
	for (size_t i = 0; i < N_CASES; i++)
		fprintf(out, summaries ? "%s%-9s %s" : "%s%s",
			i || summaries ? separator : "", cases[i]->name,
			cases[i]->summary);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

static const struct bench_case *find_case(struct argp_state *state,
					  const char *arg)
{
	char *list;

	for (size_t i = 0; i < N_CASES; i++)
		if (!strcmp(arg, cases[i]->name))
			return cases[i];
	list = case_list("", ", ", false);
	argp_error(state, "unknown case '%s'; cases: %s", arg,
		   list ? list : "see --help");
	free(list);
	return NULL;
}

static void check_together(struct argp_state *state, const struct bench_opts *o)
{
	const struct bench_case *c = o->cas;

	if ((o->vs_ksm || o->scatter_ksm) && !c->has_ksm)
		argp_error(state, "case %s has no KSM side", c->name);
	if (c->real_guests && o->scatter_ksm)
		argp_error(state, "case %s: --scatter is not for guests",
			   c->name);
	if (c->real_guests && o->mem_mib && o->mem_mib < QEMU_MIN_MIB)
		argp_error(state, "case %s: --mem must be at least %d", c->name,
			   QEMU_MIN_MIB);
	if (c->shapes && !(c->shapes & 1u << o->shape))
		argp_error(state, "case %s has no shape %s", c->name,
			   bench_shape_names[o->shape]);
	if (o->dirty > 0 && o->shape == BENCH_RUNS)
		argp_error(state, "--dirty: shape runs has no unique pages");
}

/* Options that are whole numbers: where they go and what they may be. */
static const struct {
	int key;
	const char *name;
	size_t offset; /* of an unsigned in struct bench_opts */
	unsigned min, max;
} numbers[] = {
	{ OPT_MEM, "mem", offsetof(struct bench_opts, mem_mib), 1, 1 << 23 },
	{ OPT_MAP_COUNT, "max-map-count",
	  offsetof(struct bench_opts, max_map_count), 1024, INT_MAX },
	{ OPT_RUNS, "runs", offsetof(struct bench_opts, runs), 1, 1000 },
	{ OPT_ROUNDS, "rounds", offsetof(struct bench_opts, rounds), 1, 10000 },
	{ OPT_PASSES, "passes", offsetof(struct bench_opts, passes), 1,
	  100000 },
	{ OPT_TIB, "tib", offsetof(struct bench_opts, tib), 1, 100 },
	{ OPT_WRITERS, "writers", offsetof(struct bench_opts, writers), 1, 64 },
	{ OPT_GUESTS, "guests", offsetof(struct bench_opts, guests), 1, 64 },
	{ OPT_PAIRS, "pairs", offsetof(struct bench_opts, pairs), 1, 100 },
	{ OPT_SEED, "seed", offsetof(struct bench_opts, seed), 0, UINT_MAX },
};

#define N_NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static error_t parse_number(int key, const char *arg, struct argp_state *state)
{
	for (size_t i = 0; i < N_NUMBERS; i++) {
		unsigned *field;

		if (numbers[i].key != key)
			continue;
		field = (void *)((char *)state->input + numbers[i].offset);
		*field = number(state, numbers[i].name, arg, numbers[i].min,
				numbers[i].max);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static void parse_case(struct bench_opts *o, const char *arg,
		       struct argp_state *state)
{
	if (o->cas)
		argp_error(state, "one case, not also '%s'", arg);
	o->cas = find_case(state, arg);
}

static bool parse_pattern(const char *arg, struct argp_state *state)
{
	bool sequential = !strcmp(arg, "sequential");

	if (!sequential && strcmp(arg, "random"))
		argp_error(state,
			   "unknown pattern '%s'; patterns: "
			   "sequential, random",
			   arg);
	return sequential;
}

static error_t parse_key(int key, char *arg, struct argp_state *state)
{
	struct bench_opts *o = state->input;

	switch (key) {
	case OPT_SHAPE:
		o->shape = shape(state, arg);
		return 0;
	case OPT_VS:
		if (strcmp(arg, "ksm"))
			argp_error(state, "--vs %s: only ksm is known", arg);
		o->vs_ksm = true;
		return 0;
	case OPT_SCATTER:
		if (strcmp(arg, "ksm"))
			argp_error(state, "--scatter %s: only ksm is known",
				   arg);
		o->scatter_ksm = true;
		return 0;
	case OPT_PATTERN:
		o->sequential = parse_pattern(arg, state);
		return 0;
	case OPT_KERNEL:
		o->kernel = arg;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	case OPT_DIRTY:
		o->dirty = real(state, "dirty", arg, 0, 1);
		return 0;
	case OPT_SECONDS:
		o->seconds = real(state, "seconds", arg, 0.01, 3600);
		return 0;
	case ARGP_KEY_ARG:
		parse_case(o, arg, state);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "no case given; see --help");
		return EINVAL;
	case ARGP_KEY_END:
		check_together(state, o);
		return 0;
	default:
		return parse_number(key, arg, state);
	}
}

/* argp frees what a filter returns, unless it is the text it was given. */
static char *help_filter(int key, const char *text, void *input)
{
	(void)input;
	if (key == ARGP_KEY_HELP_POST_DOC)
		return case_list("Cases:", "\n  ", true);
	return (char *)text;
}

void bench_parse(int argc, char **argv, struct bench_opts *opts)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_key,
		.args_doc = "CASE",
		.doc = "Measure one case on this host, beside KSM if asked.\v",
		.help_filter = help_filter,
	};

	*opts = (struct bench_opts){ .runs = 1,
				     .rounds = 10,
				     .passes = 30,
				     .tib = 32,
				     .seconds = 5,
				     .guests = 3,
				     .pairs = 3,
				     .seed = 1 };
	argp_err_exit_status = TF_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, opts))
		exit(TF_EXIT_USAGE);
	if (!opts->mem_mib)
		opts->mem_mib = opts->cas->default_mib;
	if (opts->cas->real_guests)
		opts->vs_ksm = true;
}
