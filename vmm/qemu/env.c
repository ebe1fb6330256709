/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TWINFOLD_* of the environment. A value that cannot be is named, never
 * replaced by a default, and so is a name that is none. Reads only; no lock.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/qemu/preload.h"

#define PREFIX "TWINFOLD_"
#define PACE_DEFAULT 25

__attribute__((format(printf, 2, 3))) static void bad(struct tq_env *env,
						      const char *fmt, ...)
{
	va_list ap;

	if (env->bad[0])
		return;
	va_start(ap, fmt);
	vsnprintf(env->bad, sizeof(env->bad), fmt, ap);
	va_end(ap);
}

static void read_mode(struct tq_env *env)
{
	const char *mode = getenv("TWINFOLD_MODE");

	env->dedup = env->ras = true;
	if (!mode || !strcmp(mode, "both"))
		return;
	env->dedup = !strcmp(mode, "dedup");
	env->ras = !strcmp(mode, "ras");
	if (!env->dedup && !env->ras && strcmp(mode, "off"))
		bad(env,
		    "TWINFOLD_MODE is '%.64s'; it must be off, dedup, ras or "
		    "both",
		    mode);
}

static void read_pace(struct tq_env *env)
{
	const char *pace = getenv("TWINFOLD_PACE");
	unsigned long n;
	char *end;

	env->pace = PACE_DEFAULT;
	if (!pace)
		return;
	errno = 0;
	n = strtoul(pace, &end, 10);
	if (errno || *pace < '0' || *pace > '9' || *end || n < 1 || n > 100)
		bad(env,
		    "TWINFOLD_PACE is '%.64s'; it must be 1 to 100, per cent "
		    "of one CPU",
		    pace);
	env->pace = (unsigned)n;
}

static const char *read_text(struct tq_env *env, const char *name)
{
	const char *text = getenv(name);

	if (text && !*text) {
		bad(env, "%s is empty; give it a value or unset it", name);
		return NULL;
	}
	return text;
}

/* It is told in JSON. */
static const char *read_name(struct tq_env *env, const char *name)
{
	const char *text = read_text(env, name);
	json_t *told = text ? json_string(text) : NULL;

	if (text && !told)
		bad(env, "%s is not UTF-8", name);
	json_decref(told);
	return text;
}

/* NULL, too, when it cannot be: it is not used for anything. */
static const char *read_path(struct tq_env *env, const char *name, size_t max)
{
	const char *path = read_text(env, name);

	if (!path)
		return NULL;
	if (*path == '/' && strlen(path) < max)
		return path;
	if (*path != '/')
		bad(env, "%s is '%.64s'; it must begin with '/'", name, path);
	else
		bad(env, "%s is longer than %zu characters", name, max - 1);
	return NULL;
}

static bool is_ours(const char *entry)
{
	static const char *const names[] = { "MODE=", "PACE=",   "CTL=",
					     "LOG=",  "DOMAIN=", "AGENT=" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(entry, names[i], strlen(names[i])))
			return true;
	return false;
}

/* A misspelt name would leave a default in force, without a word. */
static void find_unknown(struct tq_env *env)
{
	for (char **e = environ; e && *e; e++) {
		if (strncmp(*e, PREFIX, strlen(PREFIX)) != 0 ||
		    is_ours(*e + strlen(PREFIX)))
			continue;
		snprintf(env->unknown, sizeof(env->unknown), "%.*s",
			 (int)strcspn(*e, "="), *e);
		return;
	}
}

void tq_env_read(struct tq_env *env)
{
	const size_t socket_max = sizeof(((struct sockaddr_un *)0)->sun_path);
	const char *log = getenv("TWINFOLD_LOG");

	memset(env, 0, sizeof(*env));
	read_mode(env);
	read_pace(env);
	env->domain = read_name(env, "TWINFOLD_DOMAIN");
	env->ctl = read_path(env, "TWINFOLD_CTL", socket_max);
	env->agent = read_path(env, "TWINFOLD_AGENT", socket_max);
	if (!log || strcmp(log, "stderr") != 0)
		env->log = read_path(env, "TWINFOLD_LOG", 4096);
	find_unknown(env);
}
