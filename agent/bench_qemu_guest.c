/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starts and ends one QEMU. Must never leave one behind: it is killed by the
 * kernel when the process that started it ends. No locks.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/bench_qemu.h"

#define CONSOLE_MAX 65536

struct command {
	char initrd[64], console[64], mem[32], append[128], ctl[64];
};

static void describe(const struct qemu_host *host, double seconds, int console,
		     struct command *ret)
{
	static unsigned number;

	snprintf(ret->initrd, sizeof(ret->initrd), "/proc/self/fd/%d",
		 host->initrd);
	snprintf(ret->console, sizeof(ret->console), "file:/proc/self/fd/%d",
		 console);
	snprintf(ret->mem, sizeof(ret->mem), "%uM", host->mem_mib);
	snprintf(ret->append, sizeof(ret->append),
		 "console=ttyS0 quiet panic=-1");
	if (seconds > 0)
		snprintf(ret->append + strlen(ret->append),
			 sizeof(ret->append) - strlen(ret->append),
			 " TF_SECONDS=%g", seconds);
	snprintf(ret->ctl, sizeof(ret->ctl), "/tmp/twinfold-bench-%d-%u",
		 (int)getpid(), number++);
}

/* Only what is said here reaches the library. */
static void set_environment(const struct qemu_host *host,
			    const struct command *c, int library)
{
	unsetenv("LD_PRELOAD");
	unsetenv("TWINFOLD_PACE");
	unsetenv("TWINFOLD_LOG");
	unsetenv("TWINFOLD_DOMAIN");
	unsetenv("TWINFOLD_AGENT");
	if (library == QEMU_WITHOUT)
		return;
	setenv("LD_PRELOAD", host->library, 1);
	setenv("TWINFOLD_MODE", "dedup", 1);
	setenv("TWINFOLD_CTL", c->ctl, 1);
}

/*
 * Nobody writes to stdout but the bench. The translator's buffer gets a size
 * that no guest's RAM has.
 */
static _Noreturn void run(const struct qemu_host *host, struct command *c,
			  int library)
{
	char *argv[] = { QEMU_PROGRAM,
			 "-accel",
			 "tcg,tb-size=255",
			 "-m",
			 c->mem,
			 "-nodefaults",
			 "-no-user-config",
			 "-no-reboot",
			 "-display",
			 "none",
			 "-serial",
			 c->console,
			 "-kernel",
			 (char *)host->kernel,
			 "-initrd",
			 c->initrd,
			 "-append",
			 c->append,
			 NULL };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	set_environment(host, c, library);
	execvp(argv[0], argv);
	bench_fail(TF_EXIT_HOST, "cannot run %s: %s", argv[0], strerror(errno));
	_exit(TF_EXIT_HOST);
}

int qemu_start(const struct qemu_host *host, int library, double seconds,
	       struct qemu_guest *ret)
{
	struct command c = { 0 };

	*ret = (struct qemu_guest){ .console = memfd_create("console", 0) };
	if (ret->console < 0)
		return bench_fail(TF_EXIT_HOST, "memfd_create: %s",
				  strerror(errno));
	describe(host, seconds, ret->console, &c);
	ret->pid = fork();
	if (!ret->pid)
		run(host, &c, library);
	if (ret->pid < 0)
		return bench_fail(TF_EXIT_HOST, "cannot fork");
	return library == QEMU_WITH ? qemu_ctl_open(ret, c.ctl) : TF_EXIT_OK;
}

/* The line's text behind `begin`, once its end is there too. */
static char *look(const char *text, const char *begin)
{
	const char *line = strstr(text, begin);
	size_t n;

	if (!line)
		return NULL;
	line += strlen(begin);
	n = strcspn(line, "\r\n");
	return line[n] ? strndup(line, n) : NULL;
}

char *qemu_wait_line(const struct qemu_guest *guest, const char *begin,
		     double seconds)
{
	const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
	uint64_t end = bench_now_ns() + (uint64_t)(seconds * 1e9);
	char text[CONSOLE_MAX] = "", *found;

	while (bench_now_ns() < end && !waitpid(guest->pid, NULL, WNOHANG)) {
		ssize_t n = pread(guest->console, text, sizeof(text) - 1, 0);

		text[n < 0 ? 0 : n] = '\0';
		found = look(text, begin);
		if (found)
			return found;
		nanosleep(&pause, NULL);
	}
	bench_fail(TF_EXIT_FAILED,
		   "a guest ended, or has not said '%s' in %g s; its console "
		   "ends with: %s",
		   begin, seconds,
		   text + (strlen(text) > 500 ? strlen(text) - 500 : 0));
	return NULL;
}

void qemu_stop(struct qemu_guest *guest)
{
	if (guest->pid > 0) {
		kill(guest->pid, SIGKILL);
		while (waitpid(guest->pid, NULL, 0) < 0 && errno == EINTR)
			continue;
		close(guest->console);
	}
	if (guest->from)
		fclose(guest->from);
	if (guest->to)
		fclose(guest->to);
	free(guest->present);
	*guest = (struct qemu_guest){ 0 };
}
