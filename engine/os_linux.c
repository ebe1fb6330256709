/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real kernel: memory, files and the small calls of the seam. Its
 * userfaultfd and pagemap calls are in os_uffd.c, its guarded reads in
 * os_read.c. Nothing here knows what a frame or a store is.
 */
#include "engine/os_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/prctl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

long tf_sys_result(long r)
{
	return r < 0 ? -errno : r;
}

static long linux_map(const struct tf_os *os, void *addr, size_t len, int prot,
		      int flags, int fd, uint64_t off)
{
	(void)os;
	return tf_sys_result(
		syscall(SYS_mmap, addr, len, prot, flags, fd, off));
}

static int linux_unmap(const struct tf_os *os, void *addr, size_t len)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_munmap, addr, len));
}

static int linux_remap_over(const struct tf_os *os, void *from, size_t len,
			    void *to)
{
	long r = syscall(SYS_mremap, from, len, len,
			 MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);

	(void)os;
	return r < 0 ? -errno : 0;
}

static long linux_remap_away(const struct tf_os *os, void *from, size_t len)
{
	(void)os;
	return tf_sys_result(syscall(SYS_mremap, from, len, len,
				     MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
}

static int linux_advise(const struct tf_os *os, void *addr, size_t len,
			int advice)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_madvise, addr, len, advice));
}

static int linux_unlock(const struct tf_os *os, void *addr, size_t len)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_munlock, addr, len));
}

/* One call for all, since Linux 6.13; one each before. */
static int linux_drop(const struct tf_os *os, const struct iovec *vec,
		      unsigned n)
{
	long self = syscall(SYS_pidfd_open, getpid(), 0);
	size_t want = 0;
	long done = -1;
	int err = 0;

	for (unsigned i = 0; i < n; i++)
		want += vec[i].iov_len;
	if (self >= 0) {
		done = syscall(SYS_process_madvise, self, vec, n, MADV_DONTNEED,
			       0);
		os->close(os, (int)self);
	}
	if (done >= 0 && (size_t)done == want)
		return 0;
	for (unsigned i = 0; !err && i < n; i++)
		err = os->advise(os, vec[i].iov_base, vec[i].iov_len,
				 MADV_DONTNEED);
	return err;
}

static int linux_bind(const struct tf_os *os, void *addr, size_t len, int mode,
		      const unsigned long *nodes, unsigned long maxnode)
{
	(void)os;
	return (int)tf_sys_result(
		syscall(SYS_mbind, addr, len, mode, nodes, maxnode, 0));
}

static int linux_policy(const struct tf_os *os, void *addr, int *mode,
			unsigned long *nodes, unsigned long maxnode)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_get_mempolicy, mode, nodes,
					  maxnode, addr, MPOL_F_ADDR));
}

static int linux_name(const struct tf_os *os, void *addr, size_t len,
		      const char *name)
{
	(void)os;
	return (int)tf_sys_result(syscall(
		SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, len, name));
}

static int linux_node(const struct tf_os *os, void *addr)
{
	int status = -ENOENT;
	long r = syscall(SYS_move_pages, 0, 1, &addr, NULL, &status, 0);

	(void)os;
	return r < 0 ? -errno : status;
}

static int linux_memfd(const struct tf_os *os, const char *name, uint64_t bytes)
{
	int fd = (int)syscall(SYS_memfd_create, name, 1u /* MFD_CLOEXEC */);

	if (fd < 0)
		return -errno;
	if (syscall(SYS_ftruncate, fd, bytes) < 0) {
		int err = -errno;

		os->close(os, fd);
		return err;
	}
	return fd;
}

static long linux_write_at(const struct tf_os *os, int fd, const void *buf,
			   size_t len, uint64_t off)
{
	(void)os;
	return tf_sys_result(syscall(SYS_pwrite64, fd, buf, len, off));
}

static long linux_read_at(const struct tf_os *os, int fd, void *buf, size_t len,
			  uint64_t off)
{
	(void)os;
	return tf_sys_result(syscall(SYS_pread64, fd, buf, len, off));
}

static int linux_punch(const struct tf_os *os, int fd, uint64_t off,
		       uint64_t len)
{
	(void)os;
	return (int)tf_sys_result(
		syscall(SYS_fallocate, fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
}

static int linux_poll(const struct tf_os *os, struct pollfd *fds, unsigned n,
		      int timeout_ms)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_poll, fds, n, timeout_ms));
}

static int linux_eventfd(const struct tf_os *os)
{
	(void)os;
	return (int)tf_sys_result(
		syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static int linux_signal(const struct tf_os *os, int eventfd)
{
	uint64_t one = 1;

	(void)os;
	return (int)tf_sys_result(
		syscall(SYS_write, eventfd, &one, sizeof(one)));
}

static int linux_drain(const struct tf_os *os, int eventfd)
{
	uint64_t count;

	(void)os;
	return (int)tf_sys_result(
		syscall(SYS_read, eventfd, &count, sizeof(count)));
}

static int linux_close(const struct tf_os *os, int fd)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_close, fd));
}

static int linux_random(const struct tf_os *os, void *buf, size_t len)
{
	long r = syscall(SYS_getrandom, buf, len, 0);

	(void)os;
	if (r < 0)
		return -errno;
	return (size_t)r == len ? 0 : -EIO;
}

static int read_all(int fd, char **text)
{
	size_t len = 0, room = 1 << 16;
	char *buf = malloc(room + 1);

	while (buf) {
		long r = syscall(SYS_read, fd, buf + len, room - len);
		char *more;

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			int err = -errno;

			free(buf);
			return err;
		}
		if (r == 0) {
			buf[len] = '\0';
			*text = buf;
			return 0;
		}
		len += (size_t)r;
		if (len < room)
			continue;
		room *= 2;
		more = realloc(buf, room + 1);
		if (!more)
			free(buf);
		buf = more;
	}
	return -ENOMEM;
}

static int linux_read_file(const struct tf_os *os, const char *path,
			   char **text)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = read_all(fd, text);
	os->close(os, fd);
	return err;
}

static uint64_t linux_now_ns(const struct tf_os *os)
{
	struct timespec t;

	(void)os;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const struct tf_os tf_os_linux = {
	.map = linux_map,
	.unmap = linux_unmap,
	.remap_over = linux_remap_over,
	.remap_away = linux_remap_away,
	.advise = linux_advise,
	.unlock = linux_unlock,
	.drop = linux_drop,
	.bind = linux_bind,
	.policy = linux_policy,
	.name = linux_name,
	.node = linux_node,
	.memfd = linux_memfd,
	.write_at = linux_write_at,
	.read_at = linux_read_at,
	.punch = linux_punch,
	.uffd_open = tf_linux_uffd_open,
	.uffd_register = tf_linux_uffd_register,
	.uffd_unregister = tf_linux_uffd_unregister,
	.uffd_wake = tf_linux_uffd_wake,
	.uffd_protect = tf_linux_uffd_protect,
	.uffd_move = tf_linux_uffd_move,
	.uffd_zeropage = tf_linux_uffd_zeropage,
	.uffd_poison = tf_linux_uffd_poison,
	.uffd_read = tf_linux_uffd_read,
	.pagemap_open = tf_linux_pagemap_open,
	.pagemap_scan = tf_linux_pagemap_scan,
	.pagemap_read = tf_linux_pagemap_read,
	.poll = linux_poll,
	.eventfd = linux_eventfd,
	.signal = linux_signal,
	.drain = linux_drain,
	.timer = tf_linux_timer,
	.arm = tf_linux_arm,
	.close = linux_close,
	.random = linux_random,
	.read_file = linux_read_file,
	.now_ns = linux_now_ns,
	.wait_word = tf_linux_wait_word,
	.wake_word = tf_linux_wake_word,
	.thread_id = tf_linux_thread_id,
	.tell_early = tf_linux_tell_early,
	.write_file = tf_linux_write_file,
	.control = tf_linux_control,
	.hash = tf_linux_hash,
	.equal = tf_linux_equal,
	.copy = tf_linux_copy,
};
