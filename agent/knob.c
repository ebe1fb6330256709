/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of changed settings. Restoring makes system calls alone,
 * because it may happen in a signal handler, and reads what it needs from a
 * mapping that is shared with the guardian, who restores if this process was
 * killed. An entry is complete before it is counted, and is counted until it
 * has been written back. No locks: one thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/guardian.h"
#include "agent/knob.h"

#define MAX_KNOBS 24

/* One second. */
#define LOCK_TRIES 20
#define LOCK_NAP_NS 50000000

struct knob {
	char path[96];
	char value[64];
};

struct knobs {
	volatile sig_atomic_t n;
	volatile pid_t watched;
	struct knob knob[MAX_KNOBS];
};

static struct knobs own;
static struct knobs *knobs = &own;

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
	struct knob *k = &knobs->knob[knobs->n];

	if (knobs->n == MAX_KNOBS || strlen(path) >= sizeof(k->path) ||
	    strlen(value) >= sizeof(k->value))
		return -EOVERFLOW;
	memcpy(k->path, path, strlen(path) + 1);
	memcpy(k->value, value, strlen(value) + 1);
	atomic_signal_fence(memory_order_seq_cst);
	knobs->n = knobs->n + 1;
	return 0;
}

static int is_saved(const char *path)
{
	for (int i = 0; i < knobs->n; i++)
		if (!strcmp(knobs->knob[i].path, path))
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

static void restore(void)
{
	if (knobs->watched > 0) {
		kill(knobs->watched, SIGKILL);
		while (waitpid(knobs->watched, NULL, 0) < 0 && errno == EINTR)
			continue;
		knobs->watched = 0;
	}
	while (knobs->n) {
		const struct knob *k = &knobs->knob[knobs->n - 1];

		if (knob_write(k->path, k->value))
			complain(k->path);
		knobs->n = knobs->n - 1;
	}
}

void knob_restore(void)
{
	int saved_errno = errno;

	restore();
	guardian_end();
	errno = saved_errno;
}

void knob_watch_child(pid_t pid)
{
	knobs->watched = pid;
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

static int share(void)
{
	void *at = mmap(NULL, sizeof(*knobs), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	memcpy(at, knobs, sizeof(*knobs));
	knobs = at;
	return 0;
}

/* Somebody may only be looking at the settings, or be about to end. */
static int lock_soon(int fd)
{
	const struct timespec nap = { .tv_nsec = LOCK_NAP_NS };

	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (i == LOCK_TRIES)
			return -EBUSY;
		nanosleep(&nap, NULL);
	}
	return 0;
}

/* The lock lasts as long as the process, and its guardian: the descriptor
 * stays open. */
static int lock_settings(void)
{
	int fd = open(KNOB_MAX_MAP_COUNT, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = lock_soon(fd);
	if (err)
		close(fd);
	return err;
}

int knob_guard(void)
{
	int err = lock_settings();

	if (!err)
		err = share();
	if (!err)
		err = guardian_start(restore);
	if (err)
		return err;
	catch_signals();
	return atexit(knob_restore) ? -ENOMEM : 0;
}

void knob_forget(void)
{
	guardian_forget();
	memset(&own, 0, sizeof(own));
	knobs = &own;
	for (size_t i = 0; i < sizeof(fatal_signals) / sizeof(int); i++) {
		struct sigaction old;

		if (!sigaction(fatal_signals[i], NULL, &old) &&
		    old.sa_handler == on_fatal)
			signal(fatal_signals[i], SIG_DFL);
	}
}
