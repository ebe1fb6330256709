/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real kernel seam: what the handling of memory errors needs. The futex
 * calls, arm and thread_id are made in signal handlers.
 */
#include "engine/os_linux.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

void tf_linux_wait_word(const struct tf_os *os, _Atomic uint32_t *word,
			uint32_t value, unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000,
			      .tv_nsec = (long)(ms % 1000) * 1000000 };

	(void)os;
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &t, NULL, 0);
}

void tf_linux_wake_word(const struct tf_os *os, _Atomic uint32_t *word)
{
	(void)os;
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

int tf_linux_timer(const struct tf_os *os)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_timerfd_create, CLOCK_MONOTONIC,
					  TFD_CLOEXEC | TFD_NONBLOCK));
}

int tf_linux_arm(const struct tf_os *os, int timer, unsigned ns)
{
	struct itimerspec when = { .it_value = { .tv_nsec = ns } };

	(void)os;
	return (int)tf_sys_result(
		syscall(SYS_timerfd_settime, timer, 0, &when, NULL));
}

int tf_linux_thread_id(const struct tf_os *os)
{
	(void)os;
	return (int)syscall(SYS_gettid);
}

int tf_linux_tell_early(const struct tf_os *os)
{
	long now = syscall(SYS_prctl, PR_MCE_KILL_GET, 0, 0, 0, 0);

	(void)os;
	if (now != PR_MCE_KILL_DEFAULT)
		return (int)tf_sys_result(now);
	return (int)tf_sys_result(syscall(SYS_prctl, PR_MCE_KILL,
					  PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0,
					  0));
}

int tf_linux_write_file(const struct tf_os *os, const char *path,
			const char *text)
{
	int fd = (int)tf_sys_result(
		syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC));
	long r;

	if (fd < 0)
		return fd;
	r = tf_sys_result(syscall(SYS_write, fd, text, strlen(text)));
	os->close(os, fd);
	return r < 0 ? (int)r : 0;
}

int tf_linux_control(const struct tf_os *os, int fd, unsigned long request,
		     void *arg)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_ioctl, fd, request, arg));
}
