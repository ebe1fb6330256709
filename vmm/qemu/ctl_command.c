/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which command of the control socket is asked for. An object is checked whole
 * before anything is done: unknown keys, wrong types and unknown names are
 * refused. What the commands do is in ctl_run.c. No lock.
 */
#include <stdio.h>
#include <string.h>

#include "vmm/qemu/ctl.h"
#include "vmm/qemu/preload.h"

void tq_ctl_fail(struct tq_reply *r, const char *fmt, ...)
{
	va_list ap;

	if (r->desc[0]) /* the first thing that is wrong is told */
		return;
	va_start(ap, fmt);
	vsnprintf(r->desc, sizeof(r->desc), fmt, ap);
	va_end(ap);
	if (!r->class)
		r->class = "GenericError";
}

static void run_stats(const json_t *args, struct tq_reply *r)
{
	(void)args;
	r->ret = tq_ctl_stats();
}

struct argument {
	const char *name;
	json_type type;
	bool required;
};

struct command {
	const char *name;
	void (*run)(const json_t *args, struct tq_reply *r);
	struct argument args[3]; /* ends with a NULL name */
};

static const struct command commands[] = {
	{ "stats", run_stats, { { 0 } } },
	{ "pass", tq_ctl_pass, { { 0 } } },
	{ "start", tq_ctl_start, { { 0 } } },
	{ "stop", tq_ctl_stop, { { 0 } } },
	{ "inject",
	  tq_ctl_inject,
	  { { "gpa", JSON_INTEGER, true }, { "how", JSON_STRING, true } } },
	{ "unmerge",
	  tq_ctl_unmerge,
	  { { "gpa", JSON_INTEGER, false },
	    { "bytes", JSON_INTEGER, false } } },
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static const struct argument *find_argument(const struct command *c,
					    const char *name)
{
	for (const struct argument *a = c->args; a->name; a++)
		if (!strcmp(a->name, name))
			return a;
	return NULL;
}

static bool arguments_hold(const struct command *c, json_t *args,
			   struct tq_reply *r)
{
	const char *key;
	json_t *value;

	json_object_foreach(args, key, value) {
		const struct argument *a = find_argument(c, key);

		if (!a)
			tq_ctl_fail(r, "%s: unknown argument '%.40s'", c->name,
				    key);
		else if (json_typeof(value) != a->type)
			tq_ctl_fail(r, "%s: '%s' must be %s", c->name, key,
				    a->type == JSON_STRING ? "a string" :
							     "an integer");
	}
	for (const struct argument *a = c->args; a->name; a++)
		if (a->required && !json_object_get(args, a->name))
			tq_ctl_fail(r, "%s: '%s' is missing", c->name, a->name);
	return !r->class;
}

static bool keys_hold(json_t *object, struct tq_reply *r)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
		if (strcmp(key, "execute") != 0 &&
		    strcmp(key, "arguments") != 0 && strcmp(key, "id") != 0)
			tq_ctl_fail(r, "unknown key '%.40s'", key);
	if (!json_is_string(json_object_get(object, "execute")))
		tq_ctl_fail(r, "'execute' must be there, a string");
	value = json_object_get(object, "arguments");
	if (value && !json_is_object(value))
		tq_ctl_fail(r, "'arguments' must be an object");
	return !r->class;
}

/* Only "stats" can do without an engine. */
static void run_held(const struct command *c, const json_t *args,
		     struct tq_reply *r)
{
	if (c->run == run_stats) {
		c->run(args, r);
	} else if (tq_life_hold()) {
		c->run(args, r);
		tq_life_let_go();
	} else {
		tq_ctl_fail(r, "twinfold does nothing here: %s",
			    tq_life_idle());
	}
}

static void run(json_t *object, struct tq_reply *r)
{
	const struct command *c;
	const char *name;
	json_t *args;

	if (!keys_hold(object, r))
		return;
	name = json_string_value(json_object_get(object, "execute"));
	c = find_command(name);
	if (!c) {
		r->class = "CommandNotFound";
		tq_ctl_fail(r, "The command %.40s has not been found", name);
		return;
	}
	args = json_object_get(object, "arguments");
	args = args ? json_incref(args) : json_object();
	if (arguments_hold(c, args, r))
		run_held(c, args, r);
	json_decref(args);
}

static char *dump(json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	json_decref(o);
	return text;
}

char *tq_ctl_greeting(void)
{
	return dump(json_pack("{s:{s:s,s:[]}}", "twinfold", "version",
			      TF_VERSION, "capabilities"));
}

char *tq_ctl_answer(const char *line, size_t len)
{
	struct tq_reply r = { 0 };
	json_error_t e;
	json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e), *o;

	if (!json_is_object(object))
		tq_ctl_fail(&r, "not a JSON object: %.100s",
			    object ? "another value" : e.text);
	else
		run(object, &r);
	if (r.class)
		o = json_pack("{s:{s:s,s:s}}", "error", "class", r.class,
			      "desc", r.desc);
	else
		o = json_pack("{s:o}", "return", r.ret);
	if (json_is_object(object) && json_object_get(object, "id"))
		json_object_set(o, "id", json_object_get(object, "id"));
	json_decref(object);
	return dump(o);
}
