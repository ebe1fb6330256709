/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of changed settings. What restoring needs is kept in static
 * memory and used with system calls alone, because it may happen in a signal
 * handler. An entry is complete before it is counted, and is counted until
 * it has been written back. No locks: one thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/knob.h"

#define MAX_KNOBS 24

struct knob {
	char path[96];
	char value[64];
};

static struct knob knobs[MAX_KNOBS];
static volatile sig_atomic_t n_knobs;
static volatile pid_t watched;

static const int fatal_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

int knob_write(const char *path, const char *value)
{
	size_t bytes = strlen(value);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, bytes) != (ssize_t)bytes)
		err = -errno;
	close(fd);
	return err;
}

static void take_bracketed(char *text)
{
	char *from = strchr(text, '[');
	char *to = from ? strchr(from, ']') : NULL;

	if (!to)
		return;
	*to = 0;
	memmove(text, from + 1, strlen(from + 1) + 1);
}

int knob_read(const char *path, char *ret, size_t bytes)
{
	char text[256];
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	got = read(fd, text, sizeof(text) - 1);
	if (got < 0)
		got = -errno;
	close(fd);
	if (got < 0)
		return (int)got;
	text[got] = 0;
	text[strcspn(text, "\n")] = 0;
	take_bracketed(text);
	if (strlen(text) >= bytes)
		return -EOVERFLOW;
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

int knob_read_u64(const char *path, unsigned long long *ret)
{
	char text[64], *end;
	unsigned long long value;
	int err = knob_read(path, text, sizeof(text));

	if (err)
		return err;
	value = strtoull(text, &end, 10);
	if (end == text || *end)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int push(const char *path, const char *value)
{
	struct knob *k = &knobs[n_knobs];

	if (n_knobs == MAX_KNOBS || strlen(path) >= sizeof(k->path) ||
	    strlen(value) >= sizeof(k->value))
		return -EOVERFLOW;
	memcpy(k->path, path, strlen(path) + 1);
	memcpy(k->value, value, strlen(value) + 1);
	n_knobs = n_knobs + 1;
	return 0;
}

static int is_saved(const char *path)
{
	for (int i = 0; i < n_knobs; i++)
		if (!strcmp(knobs[i].path, path))
			return 1;
	return 0;
}

int knob_set(const char *path, const char *value)
{
	char old[64];
	int err;

	if (!is_saved(path)) {
		err = knob_read(path, old, sizeof(old));
		if (!err)
			err = push(path, old);
		if (err)
			return err;
	}
	return knob_write(path, value);
}

int knob_on_restore(const char *path, const char *value)
{
	return push(path, value);
}

static void complain(const char *path)
{
	static const char what[] = "twinfold: cannot put back ";

	if (write(STDERR_FILENO, what, sizeof(what) - 1) < 0 ||
	    write(STDERR_FILENO, path, strlen(path)) < 0 ||
	    write(STDERR_FILENO, "\n", 1) < 0)
		return;
}

void knob_restore(void)
{
	int saved_errno = errno;

	if (watched > 0) {
		kill(watched, SIGKILL);
		while (waitpid(watched, NULL, 0) < 0 && errno == EINTR)
			continue;
		watched = 0;
	}
	while (n_knobs) {
		const struct knob *k = &knobs[n_knobs - 1];

		if (knob_write(k->path, k->value))
			complain(k->path);
		n_knobs = n_knobs - 1;
	}
	errno = saved_errno;
}

void knob_watch_child(pid_t pid)
{
	watched = pid;
}

static void on_fatal(int sig)
{
	knob_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* A signal that is ignored (nohup) stays ignored: it ends nothing. */
static void catch_signals(void)
{
	struct sigaction old, sa = { .sa_handler = on_fatal };

	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(fatal_signals) / sizeof(int); i++)
		if (!sigaction(fatal_signals[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaction(fatal_signals[i], &sa, NULL);
}

int knob_guard(void)
{
	/* The lock lasts as long as the process: the descriptor stays open. */
	int fd = open(KNOB_MAX_MAP_COUNT, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		int err = errno == EWOULDBLOCK ? -EBUSY : -errno;

		close(fd);
		return err;
	}
	catch_signals();
	return atexit(knob_restore) ? -ENOMEM : 0;
}

void knob_forget(void)
{
	n_knobs = 0;
	watched = 0;
	for (size_t i = 0; i < sizeof(fatal_signals) / sizeof(int); i++) {
		struct sigaction old;

		if (!sigaction(fatal_signals[i], NULL, &old) &&
		    old.sa_handler == on_fatal)
			signal(fatal_signals[i], SIG_DFL);
	}
}
