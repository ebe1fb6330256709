/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands of the control socket. An object is checked whole before
 * anything is done: unknown keys, wrong types and unknown names are refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/qemu/ctl.h"
#include "vmm/qemu/preload.h"

/* Where a command puts what it returns, or what is wrong. */
struct reply {
	json_t *ret;
	const char *class;
	char desc[300];
};

__attribute__((format(printf, 2, 3))) static void fail(struct reply *r,
						       const char *fmt, ...)
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

static void fail_errno(struct reply *r, const char *what, int err)
{
	if (err == -EOPNOTSUPP)
		r->class = "NotSupported";
	fail(r, "%s: %s", what, strerror(-err));
}

static void put(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static void run_stats(const json_t *args, struct reply *r)
{
	(void)args;
	r->ret = tq_ctl_stats();
}

static void run_pass(const json_t *args, struct reply *r)
{
	struct tf_pass p = { .size = sizeof(p) };
	int err = tq_scan_pass(&p);

	(void)args;
	if (err) {
		fail_errno(r,
			   err == -EPERM     ? "merging is off, see stats" :
			   err == -ECANCELED ? "merging was switched off" :
					       "the pass failed",
			   err);
		return;
	}
	r->ret = json_object();
	put(r->ret, "pages_scanned", p.pages_scanned);
	put(r->ret, "pages_hashed", p.pages_hashed);
	put(r->ret, "pages_volatile", p.pages_volatile);
	put(r->ret, "merged", p.merged);
	put(r->ret, "zero_merged", p.zero_merged);
	put(r->ret, "promoted", p.promoted);
	put(r->ret, "bridged", p.bridged);
	put(r->ret, "busy", p.busy);
	put(r->ret, "changed", p.changed);
	put(r->ret, "ns", p.ns);
	json_object_set_new(r->ret, "complete", json_boolean(p.complete));
}

static void run_start(const json_t *args, struct reply *r)
{
	int err = tq_scan_switch(true);

	(void)args;
	if (err)
		fail(r, "merging is off, see stats");
	else
		r->ret = json_object();
}

static void run_stop(const json_t *args, struct reply *r)
{
	(void)args;
	tq_scan_switch(false);
	r->ret = json_object();
}

static void fail_gpa(struct reply *r, uint64_t gpa)
{
	fail(r, "gpa %#llx: there is no guest RAM that twinfold has",
	     (unsigned long long)gpa);
}

static bool engine_gpa(const json_t *args, struct reply *r, uint64_t *ret)
{
	json_int_t gpa = json_integer_value(json_object_get(args, "gpa"));

	if (gpa >= 0 && tq_gpa_find((uint64_t)gpa, ret))
		return true;
	fail_gpa(r, (uint64_t)gpa);
	return false;
}

static void run_inject(const json_t *args, struct reply *r)
{
	static const char *const names[] = { "sim", "madvise", "hwpoison" };
	const char *how = json_string_value(json_object_get(args, "how"));
	uint64_t gpa;
	unsigned i;
	int err;

	for (i = 0; i < 3 && strcmp(how, names[i]) != 0; i++)
		;
	if (i == 3) {
		fail(r, "how is '%.40s'; it must be sim, madvise or hwpoison",
		     how);
		return;
	}
	if (!engine_gpa(args, r, &gpa))
		return;
	err = tf_ras_inject(tq_life()->engine, tq_life()->guest, gpa,
			    (enum tf_inject)i);
	if (err == -ENODEV)
		fail(r, "TWINFOLD_MODE has no ras: nothing is injected");
	else if (err == -ENOENT)
		fail_gpa(r, gpa);
	else if (err)
		fail_errno(r, "nothing was injected", err);
	else
		r->ret = json_object();
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t pages_merged(void)
{
	struct tf_guest_stats g = { .size = sizeof(g) };

	tf_guest_stats(tq_life()->guest, &g);
	return g.pages_merged;
}

/* A page that was lost, and that nobody touched yet, heals on the way. */
#define UNMERGE_TRIES 64

static int unmerge(uint64_t gpa, size_t bytes)
{
	int err = -EHWPOISON;

	for (int i = 0; err == -EHWPOISON && i < UNMERGE_TRIES; i++) {
		err = tf_guest_unmerge(tq_life()->guest, gpa, bytes);
		if (err == -EHWPOISON)
			poll(NULL, 0, 5);
	}
	return err;
}

static void unmerge_block(const struct tq_block *b, void *arg)
{
	int *err = arg;
	int e = 0;

	if (b->state == TQ_BLOCK_MERGING)
		e = unmerge(b->gpa, b->bytes);
	if (e && !*err)
		*err = e;
}

static int unmerge_range(const json_t *args, struct reply *r, uint64_t gpa)
{
	json_int_t bytes = json_integer_value(json_object_get(args, "bytes"));

	if (bytes <= 0 || bytes % TF_PAGE_SIZE || gpa % TF_PAGE_SIZE) {
		fail(r, "gpa and bytes must be multiples of 4096, and bytes "
			"more than 0");
		return -EINVAL;
	}
	return unmerge(gpa, (size_t)bytes);
}

/* All of it, or a range. A scan that goes on merges it again. */
static void run_unmerge(const json_t *args, struct reply *r)
{
	uint64_t begin = now_ms(), merged, gpa;
	bool all = !json_object_size(args);
	int err = 0;

	merged = pages_merged();
	if (!all && json_object_size(args) != 2) {
		fail(r, "unmerge takes gpa and bytes, or neither");
		return;
	}
	if (!all && !engine_gpa(args, r, &gpa))
		return;
	if (all)
		tq_blocks_each(unmerge_block, &err);
	else
		err = unmerge_range(args, r, gpa);
	if (err) {
		if (!r->class)
			fail_errno(r, "some pages are still shared", err);
		return;
	}
	r->ret = json_object();
	put(r->ret, "ms", now_ms() - begin);
	put(r->ret, "bytes", (merged - pages_merged()) * TF_PAGE_SIZE);
	json_object_set_new(r->ret, "scanning", json_boolean(tq_scan_is_on()));
}

/* --- dispatch ------------------------------------------------------------ */

struct argument {
	const char *name;
	json_type type;
	bool required;
};

struct command {
	const char *name;
	void (*run)(const json_t *args, struct reply *r);
	struct argument args[3]; /* ends with a NULL name */
};

static const struct command commands[] = {
	{ "stats", run_stats, { { 0 } } },
	{ "pass", run_pass, { { 0 } } },
	{ "start", run_start, { { 0 } } },
	{ "stop", run_stop, { { 0 } } },
	{ "inject",
	  run_inject,
	  { { "gpa", JSON_INTEGER, true }, { "how", JSON_STRING, true } } },
	{ "unmerge",
	  run_unmerge,
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
			   struct reply *r)
{
	const char *key;
	json_t *value;

	json_object_foreach(args, key, value) {
		const struct argument *a = find_argument(c, key);

		if (!a)
			fail(r, "%s: unknown argument '%.40s'", c->name, key);
		else if (json_typeof(value) != a->type)
			fail(r, "%s: '%s' must be %s", c->name, key,
			     a->type == JSON_STRING ? "a string" :
						      "an integer");
	}
	for (const struct argument *a = c->args; a->name; a++)
		if (a->required && !json_object_get(args, a->name))
			fail(r, "%s: '%s' is missing", c->name, a->name);
	return !r->class;
}

static bool keys_hold(json_t *object, struct reply *r)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
		if (strcmp(key, "execute") != 0 &&
		    strcmp(key, "arguments") != 0 && strcmp(key, "id") != 0)
			fail(r, "unknown key '%.40s'", key);
	if (!json_is_string(json_object_get(object, "execute")))
		fail(r, "'execute' must be there, a string");
	value = json_object_get(object, "arguments");
	if (value && !json_is_object(value))
		fail(r, "'arguments' must be an object");
	return !r->class;
}

/* Only "stats" can do without an engine. */
static void run_held(const struct command *c, const json_t *args,
		     struct reply *r)
{
	if (c->run == run_stats) {
		c->run(args, r);
	} else if (tq_life_hold()) {
		c->run(args, r);
		tq_life_let_go();
	} else {
		fail(r, "twinfold does nothing here: %s", tq_life_idle());
	}
}

static void run(json_t *object, struct reply *r)
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
		fail(r, "The command %.40s has not been found", name);
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
	struct reply r = { 0 };
	json_error_t e;
	json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e), *o;

	if (!json_is_object(object))
		fail(&r, "not a JSON object: %.100s",
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
