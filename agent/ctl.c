/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twinfold ctl: one command to the control socket of one VMM (TWINFOLD_CTL).
 * Prints what the VMM returns, as JSON. One thread, no locks.
 */
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "agent/verbs.h"

struct ctl {
	const char *socket, *command;
	json_t *args;
	bool json;
	FILE *to, *from;
};

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "One line of JSON on standard output", 0 },
	{ 0 },
};

/* Numbers may be hexadecimal; what is no number is a string. */
static json_t *value_of(const char *text)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 0);
	if (*text && !*end && !errno)
		return json_integer(n);
	return json_string(text);
}

static void add_argument(struct argp_state *state, struct ctl *c, char *arg)
{
	char *value = strchr(arg, '=');

	if (!value || value == arg) {
		argp_error(state, "'%s' must be KEY=VALUE", arg);
		return; /* not reached: argp_error() ends the process */
	}
	*value++ = '\0';
	if (json_object_get(c->args, arg))
		argp_error(state, "'%s' is given twice", arg);
	if (json_object_set_new(c->args, arg, value_of(value)))
		argp_error(state, "'%s' is not UTF-8", arg);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct ctl *c = state->input;

	switch (key) {
	case 'j':
		c->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!c->socket)
			c->socket = arg;
		else if (!c->command)
			c->command = arg;
		else
			add_argument(state, c, arg);
		return 0;
	case ARGP_KEY_END:
		if (!c->command)
			argp_error(state, "give SOCKET and COMMAND");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int complain(const struct ctl *c, int code, const char *what)
{
	fprintf(stderr, "twinfold ctl: %s: %s\n", c->socket, what);
	return code;
}

static int open_streams(struct ctl *c)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	if (stat(c->socket, &st))
		return complain(c, TF_EXIT_USAGE, strerror(errno));
	if (!S_ISSOCK(st.st_mode) ||
	    strlen(c->socket) >= sizeof(address.sun_path))
		return complain(c, TF_EXIT_USAGE, "is no control socket");
	memcpy(address.sun_path, c->socket, strlen(c->socket) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return complain(c, TF_EXIT_HOST, strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int err = errno;

		close(fd);
		return complain(c, TF_EXIT_USAGE,
				err == ECONNREFUSED ?
					"nobody listens there: the VMM is "
					"gone" :
					strerror(err));
	}
	c->from = fdopen(fd, "r");
	c->to = c->from ? fdopen(dup(fd), "w") : NULL;
	return c->to ? 0 : complain(c, TF_EXIT_HOST, "no memory");
}

/* One line, as an object; the caller owns it. NULL: there is none. */
static json_t *read_object(struct ctl *c)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n = getline(&line, &room, c->from);
	json_t *o = n > 0 ? json_loadb(line, (size_t)n, 0, NULL) : NULL;

	free(line);
	if (o && !json_is_object(o)) {
		json_decref(o);
		o = NULL;
	}
	return o;
}

static json_t *ask(struct ctl *c, const char *command, json_t *args)
{
	json_t *o =
		json_pack("{s:s,s:O}", "execute", command, "arguments", args);
	int bad = !o || json_dumpf(o, c->to, JSON_COMPACT) ||
		  fputc('\n', c->to) == EOF || fflush(c->to);

	json_decref(o);
	return bad ? NULL : read_object(c);
}

/* Switching off: what un-merging takes, before it begins. */
static void announce_off(struct ctl *c)
{
	json_t *none = json_object(), *answer = ask(c, "stats", none);
	const json_t *ret = json_object_get(answer, "return");
	json_int_t bytes =
		json_integer_value(json_object_get(ret, "unmerge_bytes"));
	json_int_t ms = json_integer_value(json_object_get(ret, "unmerge_ms"));

	if (ret)
		fprintf(stderr,
			"twinfold ctl: %sun-merging everything takes %lld MiB "
			"of memory and about %lld ms\n",
			strcmp(c->command, "stop") ?
				"" :
				"what is shared stays so until unmerge; ",
			(long long)(bytes >> 20), (long long)ms);
	json_decref(answer);
	json_decref(none);
}

static int print_answer(const struct ctl *c, const json_t *answer)
{
	const json_t *ret = json_object_get(answer, "return");
	const json_t *error = json_object_get(answer, "error");
	const char *class = json_string_value(json_object_get(error, "class"));
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (ret) {
		json_dumpf(ret, stdout,
			   c->json ? JSON_COMPACT : JSON_INDENT(2));
		return putchar('\n') == EOF || fflush(stdout) ? TF_EXIT_FAILED :
								TF_EXIT_OK;
	}
	complain(c, 0, desc ? desc : "the answer has no sense");
	return class && !strcmp(class, "NotSupported") ? TF_EXIT_HOST :
							 TF_EXIT_FAILED;
}

static int talk(struct ctl *c)
{
	json_t *greeting = read_object(c), *answer;
	int code;

	if (!greeting || !json_object_get(greeting, "twinfold")) {
		json_decref(greeting);
		return complain(c, TF_EXIT_USAGE,
				"is no control socket of twinfold's");
	}
	json_decref(greeting);
	if (!strcmp(c->command, "unmerge") || !strcmp(c->command, "stop"))
		announce_off(c);
	answer = ask(c, c->command, c->args);
	code = answer ? print_answer(c, answer) :
			complain(c, TF_EXIT_FAILED, "the VMM went away");
	json_decref(answer);
	return code;
}

int tf_verb_ctl(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "SOCKET COMMAND [KEY=VALUE...]",
		.doc = "Send a command to the control socket of one VMM.\v"
		       "Commands: stats, pass, start, stop, "
		       "inject gpa=ADDRESS how=sim|madvise|hwpoison, "
		       "unmerge [gpa=ADDRESS bytes=N].",
	};
	struct ctl c = { .args = json_object() };
	int code;

	argp_err_exit_status = TF_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &c))
		return TF_EXIT_USAGE;
	code = open_streams(&c);
	if (!code)
		code = talk(&c);
	if (c.to)
		fclose(c.to);
	if (c.from)
		fclose(c.from);
	json_decref(c.args);
	return code;
}
