/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command `twinfold`: picks the verb and hands the rest of the command
 * line to it. Knows nothing of what a verb does. One thread, no locks.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/verbs.h"
#include "twinfold/twinfold.h"

struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
};

static const struct verb verbs[] = {
	{ "bench", tf_verb_bench, "measure one case, beside KSM if asked" },
	{ "ctl", tf_verb_ctl, "a command to the control socket of one VMM" },
	{ "demo", tf_verb_demo, "run guests, fold and check their pages" },
	{ "drill", tf_verb_drill, "lose pages of guests, prove what survives" },
};

#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

struct command {
	const struct verb *verb;
	int argc; /* what follows the program's name, the verb included */
	char **argv;
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < N_VERBS; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static char *verb_list(void)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	fputs("Verbs:\n", out);
	for (size_t i = 0; i < N_VERBS; i++)
		fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].summary);
	fputs("\n'twinfold VERB --help' shows the options of a verb.", out);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

/* argp frees what a filter returns, unless it is the text it was given. */
static char *help_filter(int key, const char *text, void *input)
{
	(void)input;
	if (key == ARGP_KEY_HELP_POST_DOC)
		return verb_list();
	return (char *)text;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct command *cmd = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		cmd->verb = find_verb(arg);
		if (!cmd->verb)
			argp_error(state, "unknown verb '%s'", arg);
		cmd->argv = state->argv + state->next - 1;
		cmd->argc = state->argc - state->next + 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_version(FILE *out, struct argp_state *state)
{
	(void)state;
	fprintf(out, "twinfold %s\n", TF_VERSION);
}

static int run_verb(const struct command *cmd)
{
	static char title[64];

	snprintf(title, sizeof(title), "twinfold %s", cmd->verb->name);
	cmd->argv[0] = title;
	return cmd->verb->run(cmd->argc, cmd->argv);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse,
		.args_doc = "VERB [ARGUMENT...]",
		.doc = "Fold identical guest pages into one.\v",
		.help_filter = help_filter,
	};
	struct command cmd = { 0 };

	argp_err_exit_status = TF_EXIT_USAGE;
	argp_program_version_hook = print_version;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &cmd))
		return TF_EXIT_USAGE;
	return run_verb(&cmd);
}
