/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log: lines "twinfold: ...", to QEMU's standard error or to a file, each
 * by one write(). No lock; may be called with any held. Remembers a thread's
 * last warnings, so that a refusal's reasons can be told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/qemu/preload.h"

#define LINE_MAX_BYTES 512
#define LAST_MAX_BYTES 320

static int to = STDERR_FILENO;
static enum tf_log_level most = TF_LOG_NOTICE;
static __thread char last[LAST_MAX_BYTES];
static __thread bool quiet;

int tq_say_open(const char *path)
{
	int fd;

	if (!path)
		return 0;
	/* A pipe or terminal must not hold up the guest, now or later. */
	fd = tq_real()->open(path,
			     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC |
				     O_NONBLOCK | O_NOCTTY,
			     0600);
	if (fd < 0)
		return -errno;
	to = fd;
	most = TF_LOG_INFO;
	return 0;
}

static void remember(const char *line)
{
	size_t len = strlen(last);

	snprintf(last + len, sizeof(last) - len, "%s%s", len ? "; " : "", line);
}

void tq_say_line(void *user, enum tf_log_level level, const char *line)
{
	char text[LINE_MAX_BYTES];
	int saved = errno, len;

	(void)user;
	if (level <= TF_LOG_WARNING)
		remember(line);
	if (level > most || quiet)
		return;
	len = snprintf(text, sizeof(text), "twinfold: %.480s\n", line);
	/* There is nobody to tell that the log cannot be written. */
	(void)!write(to, text, (size_t)len);
	errno = saved;
}

void tq_say(enum tf_log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	tq_say_line(NULL, level, line);
	errno = saved;
}

void tq_say_quiet(bool on)
{
	quiet = on;
}

void tq_say_last(char *ret, size_t size)
{
	if (ret)
		snprintf(ret, size, "%s", last);
	last[0] = '\0';
}
