/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interposed: ways to a descriptor with O_DIRECT, opened, switched over, or
 * received from a management program. Those that were there at the beginning
 * are looked at by tq_direct_check_all(). No lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "vmm/qemu/preload.h"

int tq_open(const char *path, int flags, ...) TQ_EXPORT("open");
int tq_open64(const char *path, int flags, ...) TQ_EXPORT("open64");
int tq_open_2(const char *path, int flags) TQ_EXPORT("__open_2");
int tq_open64_2(const char *path, int flags) TQ_EXPORT("__open64_2");
int tq_openat(int dir, const char *path, int flags, ...) TQ_EXPORT("openat");
int tq_openat64(int dir, const char *path, int flags, ...)
	TQ_EXPORT("openat64");
int tq_openat_2(int dir, const char *path, int flags) TQ_EXPORT("__openat_2");
int tq_openat64_2(int dir, const char *path, int flags)
	TQ_EXPORT("__openat64_2");
int tq_fcntl(int fd, int command, ...) TQ_EXPORT("fcntl");
int tq_fcntl64(int fd, int command, ...) TQ_EXPORT("fcntl64");
ssize_t tq_recvmsg(int fd, struct msghdr *msg, int flags) TQ_EXPORT("recvmsg");

/* The mode that follows `flags`, where there is one. */
#define MODE_AFTER(flags, ret)                                                 \
	do {                                                                   \
		va_list ap_;                                                   \
                                                                               \
		va_start(ap_, flags);                                          \
		if ((flags) & (O_CREAT | __O_TMPFILE))                         \
			(ret) = va_arg(ap_, mode_t);                           \
		va_end(ap_);                                                   \
	} while (0)

static int checked(int fd, int flags)
{
	tq_direct_check(fd, flags);
	return fd;
}

int tq_open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	MODE_AFTER(flags, mode);
	return checked(tq_real()->open(path, flags, mode), flags);
}

int tq_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;

	MODE_AFTER(flags, mode);
	return checked(tq_real()->open(path, flags, mode), flags);
}

int tq_open_2(const char *path, int flags)
{
	return checked(tq_real()->open(path, flags, 0), flags);
}

int tq_open64_2(const char *path, int flags)
{
	return tq_open_2(path, flags);
}

int tq_openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	MODE_AFTER(flags, mode);
	return checked(tq_real()->openat(dir, path, flags, mode), flags);
}

int tq_openat64(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	MODE_AFTER(flags, mode);
	return checked(tq_real()->openat(dir, path, flags, mode), flags);
}

int tq_openat_2(int dir, const char *path, int flags)
{
	return checked(tq_real()->openat(dir, path, flags, 0), flags);
}

int tq_openat64_2(int dir, const char *path, int flags)
{
	return tq_openat_2(dir, path, flags);
}

/* Before it is done: another thread may read the file at once. */
static int control(int fd, int command, void *arg)
{
	if (command == F_SETFL)
		tq_direct_check(fd, (int)(intptr_t)arg);
	return tq_real()->fcntl(fd, command, arg);
}

int tq_fcntl(int fd, int command, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, command);
	arg = va_arg(ap, void *);
	va_end(ap);
	return control(fd, command, arg);
}

int tq_fcntl64(int fd, int command, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, command);
	arg = va_arg(ap, void *);
	va_end(ap);
	return control(fd, command, arg);
}

static void check_rights(const struct cmsghdr *c)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd, flags;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
		flags = tq_real()->fcntl(fd, F_GETFL);
		if (flags >= 0)
			tq_direct_check(fd, flags);
	}
}

ssize_t tq_recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t r = tq_real()->recvmsg(fd, msg, flags);
	int saved = errno;

	if (r < 0 || !msg->msg_control)
		return r;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			check_rights(c);
	errno = saved;
	return r;
}
