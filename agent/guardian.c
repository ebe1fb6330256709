/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the guardian's process. It is nobody's child and has a session of its
 * own, so that whoever kills a tree of processes, or a terminal's, does not
 * take it along. It waits for the end of a process by descriptor: neither
 * pipes that children inherit nor numbers that are given away again deceive
 * it. No locks: one thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guardian.h"

static struct {
	pid_t pid;
	int fd; /* its pidfd */
} guardian = { .fd = -1 };

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

static void wait_for_end(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		continue;
}

static void ignore_signals(void)
{
	static const int kinds[] = { SIGINT,  SIGTERM, SIGHUP,
				     SIGQUIT, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		signal(kinds[i], SIG_IGN);
}

static _Noreturn void guard(int ward, void (*mourn)(void))
{
	ignore_signals();
	prctl(PR_SET_NAME, "twinfold-guard");
	/* Whoever reads what the process prints waits for no guardian. */
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	wait_for_end(ward);
	mourn();
	_exit(0);
}

/* In the child that is there to be forgotten: its own child is the guardian,
 * and `fd` is told which. */
static _Noreturn void detach(int ward, int fd, void (*mourn)(void))
{
	pid_t pid;

	setsid();
	pid = fork();
	if (!pid) {
		close(fd);
		guard(ward, mourn);
	}
	_exit(pid < 0 || write(fd, &pid, sizeof(pid)) != sizeof(pid));
}

static int start(int ward, const int fds[2], void (*mourn)(void))
{
	pid_t child = fork();
	pid_t pid = 0;

	if (child < 0)
		return -errno;
	if (!child)
		detach(ward, fds[1], mourn);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (read(fds[0], &pid, sizeof(pid)) != sizeof(pid))
		return -EAGAIN;
	guardian.fd = pidfd_of(pid);
	if (guardian.fd < 0) {
		kill(pid, SIGKILL);
		return guardian.fd;
	}
	guardian.pid = pid;
	return 0;
}

int guardian_start(void (*mourn)(void))
{
	int ward = pidfd_of(getpid()), fds[2], err;

	if (ward < 0)
		return ward;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK)) {
		err = -errno;
	} else {
		err = start(ward, fds, mourn);
		close(fds[0]);
		close(fds[1]);
	}
	close(ward);
	return err;
}

void guardian_end(void)
{
	if (!guardian.pid)
		return;
	kill(guardian.pid, SIGKILL);
	wait_for_end(guardian.fd);
	close(guardian.fd);
	guardian_forget();
}

void guardian_forget(void)
{
	guardian.pid = 0;
	guardian.fd = -1;
}
