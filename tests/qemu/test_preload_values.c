/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TWINFOLD_* with values that cannot be, each name of them: the VMM runs as if
 * the library were not there, is not held up, and the log says which value
 * and why.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/preload.h"

#define HUNDRED                                                                \
	"0123456789012345678901234567890123456789012345678901234567890123456"  \
	"789012345678901234567890123456789"

/* A file in the place of the socket stays what it is. */
static void ctl_is_a_file(void)
{
	const char *ctl = getenv("TWINFOLD_CTL");
	struct stat st;
	int fd;

	CHECK(ctl);
	fd = open(ctl, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	close(fd);
	preload_kernels_own();
	CHECK(!stat(ctl, &st) && S_ISREG(st.st_mode));
	unlink(ctl);
}

static int ctl_socket(bool listens)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", getenv("TWINFOLD_CTL"));
	if (listens)
		CHECK(!bind(fd, (struct sockaddr *)&a, sizeof(a)) &&
		      !listen(fd, 0));
	else if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return -errno;
	return fd;
}

/* Another process has it, and answers nobody. */
static void ctl_is_taken(void)
{
	const char *ctl = getenv("TWINFOLD_CTL");
	int taken = ctl_socket(true), last = 0;

	for (int i = 0; i < 16 && last >= 0; i++)
		last = ctl_socket(false);
	CHECK(ctl && last == -EAGAIN);
	alarm(10);
	preload_kernels_own();
	close(taken);
	unlink(ctl);
}

static void log_path(char *ret, size_t size)
{
	snprintf(ret, size, "%s.log", getenv("TWINFOLD_CTL"));
	CHECK(!mkfifo(ret, 0600) && !setenv("TWINFOLD_LOG", ret, 1));
	alarm(20);
}

/* A pipe that nobody reads. */
static void log_without_reader(void)
{
	char path[100];

	log_path(path, sizeof(path));
	preload_left_alone();
	unlink(path);
}

/* One whose reader sleeps: what does not fit is not said. */
static void log_is_full(void)
{
	char path[100], *ram, got[64] = "";
	int from, to;

	log_path(path, sizeof(path));
	from = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK(from >= 0);
	ram = preload_merged();
	to = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	while (write(to, got, sizeof(got)) > 0)
		;
	CHECK(errno == EAGAIN);
	CHECK(!madvise(ram, RAM_BYTES, MADV_DODUMP));
	preload_wait(ram, "merging");
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	CHECK(read(from, got, sizeof(got) - 1) > 0);
	CHECK(strstr(got, "twinfold: "));
	unlink(path);
}

/* Perhaps it is misspelt: that is said, and the others count. */
static void name_is_none(void)
{
	char *ram = preload_merged();

	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

#define BAD(name_, value, said_)                                               \
	{                                                                      \
		.name = name_, .run = preload_left_alone, .env = { value },    \
		.said = said_                                                  \
	}

static const struct preload_case cases[] = {
	{ .name = "mode_off",
	  .run = preload_left_alone,
	  .env = { "TWINFOLD_MODE=off" } },
	BAD("mode_unknown", "TWINFOLD_MODE=fast", "TWINFOLD_MODE is 'fast'"),
	BAD("mode_empty", "TWINFOLD_MODE=", "TWINFOLD_MODE is ''"),
	BAD("pace_low", "TWINFOLD_PACE=0", "TWINFOLD_PACE is '0'"),
	BAD("pace_high", "TWINFOLD_PACE=101", "TWINFOLD_PACE is '101'"),
	BAD("pace_negative", "TWINFOLD_PACE=-1", "TWINFOLD_PACE is '-1'"),
	BAD("pace_long", "TWINFOLD_PACE=18446744073709551617",
	    "TWINFOLD_PACE is '18446744073709551617'"),
	BAD("pace_text", "TWINFOLD_PACE=25%", "TWINFOLD_PACE is '25%'"),
	BAD("pace_empty", "TWINFOLD_PACE=", "TWINFOLD_PACE is ''"),
	BAD("domain_empty", "TWINFOLD_DOMAIN=", "TWINFOLD_DOMAIN is empty"),
	BAD("domain_bytes", "TWINFOLD_DOMAIN=sh\377p",
	    "TWINFOLD_DOMAIN is not UTF-8"),
	BAD("ctl_nowhere", "TWINFOLD_CTL=/nowhere/at/all",
	    "TWINFOLD_CTL: no socket at '/nowhere/at/all'"),
	BAD("ctl_relative", "TWINFOLD_CTL=socket", "TWINFOLD_CTL is 'socket'"),
	BAD("ctl_empty", "TWINFOLD_CTL=", "TWINFOLD_CTL is empty"),
	BAD("ctl_long", "TWINFOLD_CTL=/" HUNDRED HUNDRED,
	    "TWINFOLD_CTL is longer than"),
	{ .name = "ctl_file",
	  .run = ctl_is_a_file,
	  .said = "TWINFOLD_CTL: no socket at" },
	{ .name = "ctl_taken",
	  .run = ctl_is_taken,
	  .said = "Address already in use" },
	BAD("agent_relative", "TWINFOLD_AGENT=socket",
	    "TWINFOLD_AGENT is 'socket'"),
	BAD("agent_empty", "TWINFOLD_AGENT=", "TWINFOLD_AGENT is empty"),
	BAD("agent_long", "TWINFOLD_AGENT=/" HUNDRED HUNDRED,
	    "TWINFOLD_AGENT is longer than"),
	BAD("log_folder", "TWINFOLD_LOG=/proc", "TWINFOLD_LOG: '/proc'"),
	BAD("log_relative", "TWINFOLD_LOG=log", "TWINFOLD_LOG is 'log'"),
	BAD("log_empty", "TWINFOLD_LOG=", "TWINFOLD_LOG is empty"),
	BAD("log_nowhere", "TWINFOLD_LOG=/nowhere/at/all",
	    "TWINFOLD_LOG: '/nowhere/at/all' cannot be written"),
	{ .name = "log_without_reader",
	  .run = log_without_reader,
	  .said = "cannot be written" },
	{ .name = "log_full", .run = log_is_full },
	{ .name = "name_unknown",
	  .run = name_is_none,
	  .env = { "TWINFOLD_PACES=90" },
	  .said = "TWINFOLD_PACES: there is no such setting" },
};

int main(int argc, char **argv)
{
	(void)argc;
	return preload_main(argv, cases, sizeof(cases) / sizeof(cases[0]));
}
