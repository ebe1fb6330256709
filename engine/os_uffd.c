/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real kernel: userfaultfd and pagemap. Feature bits and requests that
 * the build machine's headers may lack are spelled out here with the kernel
 * version that brought them.
 */
#include "engine/os_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/userfaultfd.h of Linux 6.8 */
#define FEATURE_EVENT_FORK (UINT64_C(1) << 1)
#define FEATURE_PAGEFAULT_FLAG_WP (UINT64_C(1) << 0)
#define FEATURE_EVENT_REMAP (UINT64_C(1) << 2)
#define FEATURE_SIGBUS (UINT64_C(1) << 7)
#define FEATURE_WP_SHMEM (UINT64_C(1) << 12)
#define FEATURE_POISON (UINT64_C(1) << 14)
#define FEATURE_WP_ASYNC (UINT64_C(1) << 15)
#define FEATURE_MOVE (UINT64_C(1) << 16)

struct move_arg {
	uint64_t dst, src, len, mode;
	int64_t moved;
};
#define IOCTL_MOVE _IOWR(UFFDIO, 0x05, struct move_arg)
#define MOVE_DONTWAKE UINT64_C(1)

struct poison_arg {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define IOCTL_POISON _IOWR(UFFDIO, 0x08, struct poison_arg)

/* include/uapi/linux/userfaultfd.h of Linux 6.1 */
#define IOCTL_DEV_NEW _IO(0xAA, 0x00)

/* include/uapi/linux/fs.h of Linux 6.7 */
#define IOCTL_PAGEMAP_SCAN _IOWR('f', 16, struct tf_scan)

static struct uffdio_range range_of(void *addr, size_t len)
{
	return (struct uffdio_range){ .start = (uintptr_t)addr, .len = len };
}

/*
 * A userfaultfd that also serves faults of the kernel (KVM, vhost): the
 * device node grants that by its file mode, the system call by capability or
 * sysctl (Documentation/admin-guide/mm/userfaultfd.rst).
 */
static int open_any(const struct tf_os *os)
{
	const int flags = O_CLOEXEC | O_NONBLOCK;
	int dev = (int)syscall(SYS_openat, AT_FDCWD, "/dev/userfaultfd",
			       O_RDWR | O_CLOEXEC);
	long fd;

	if (dev >= 0) {
		fd = tf_sys_result(ioctl(dev, IOCTL_DEV_NEW, flags));
		os->close(os, dev);
		if (fd >= 0)
			return (int)fd;
	}
	return (int)tf_sys_result(syscall(SYS_userfaultfd, flags));
}

static uint64_t features_of(enum tf_uffd_kind kind)
{
	switch (kind) {
	case TF_UFFD_GUEST:
		return FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_ASYNC |
		       FEATURE_MOVE | FEATURE_POISON;
	case TF_UFFD_MERGED:
		return FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_SHMEM |
		       FEATURE_POISON;
	case TF_UFFD_OURS:
		return FEATURE_SIGBUS | FEATURE_MOVE | FEATURE_POISON;
	case TF_UFFD_FORK:
		return FEATURE_PAGEFAULT_FLAG_WP | FEATURE_EVENT_FORK;
	case TF_UFFD_GATHER:
		return FEATURE_PAGEFAULT_FLAG_WP | FEATURE_EVENT_REMAP |
		       FEATURE_MOVE | FEATURE_POISON;
	}
	return 0;
}

int tf_linux_uffd_open(const struct tf_os *os, enum tf_uffd_kind kind)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = features_of(kind) };
	int fd = open_any(os);

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		int err = errno == EINVAL ? -EOPNOTSUPP : -errno;

		os->close(os, fd);
		return err;
	}
	return fd;
}

int tf_linux_uffd_register(const struct tf_os *os, int uffd, void *addr,
			   size_t len, int mode)
{
	struct uffdio_register r = { .range = range_of(addr, len) };

	(void)os;
	if (mode & TF_REG_MISSING)
		r.mode |= UFFDIO_REGISTER_MODE_MISSING;
	if (mode & TF_REG_WP)
		r.mode |= UFFDIO_REGISTER_MODE_WP;
	return (int)tf_sys_result(ioctl(uffd, UFFDIO_REGISTER, &r));
}

int tf_linux_uffd_unregister(const struct tf_os *os, int uffd, void *addr,
			     size_t len)
{
	struct uffdio_range r = range_of(addr, len);

	(void)os;
	return (int)tf_sys_result(ioctl(uffd, UFFDIO_UNREGISTER, &r));
}

int tf_linux_uffd_wake(const struct tf_os *os, int uffd, void *addr, size_t len)
{
	struct uffdio_range r = range_of(addr, len);

	(void)os;
	return (int)tf_sys_result(ioctl(uffd, UFFDIO_WAKE, &r));
}

/*
 * EAGAIN: a fork is under way, until the resolver has read its event. That may
 * be waiting for a lock which our caller holds, so this must end.
 */
#define PROTECT_TRIES 64

int tf_linux_uffd_protect(const struct tf_os *os, int uffd, void *addr,
			  size_t len, bool on)
{
	struct uffdio_writeprotect w = {
		.range = range_of(addr, len),
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};
	long r = -EAGAIN;

	(void)os;
	for (int i = 0; r == -EAGAIN && i < PROTECT_TRIES; i++)
		r = tf_sys_result(ioctl(uffd, UFFDIO_WRITEPROTECT, &w));
	return (int)r;
}

/* Contended page locks give EAGAIN; a few tries tell a race from a pin. */
#define MOVE_TRIES 16

long tf_linux_uffd_move(const struct tf_os *os, int uffd, void *to, void *from,
			size_t len)
{
	size_t done = 0;
	long r = 0;

	(void)os;
	for (int tries = 0; done < len && tries < MOVE_TRIES; tries++) {
		struct move_arg m = { .dst = (uintptr_t)to + done,
				      .src = (uintptr_t)from + done,
				      .len = len - done,
				      .mode = MOVE_DONTWAKE };

		r = tf_sys_result(ioctl(uffd, IOCTL_MOVE, &m));
		if (m.moved > 0)
			done += (size_t)m.moved;
		if (r < 0 && r != -EAGAIN)
			break;
	}
	return done ? (long)done : r;
}

long tf_linux_uffd_zeropage(const struct tf_os *os, int uffd, void *addr,
			    size_t len)
{
	size_t done = 0;
	long r = 0;

	(void)os;
	while (done < len) {
		struct uffdio_zeropage z = {
			.range = range_of((char *)addr + done, len - done),
			.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE,
		};

		r = tf_sys_result(ioctl(uffd, UFFDIO_ZEROPAGE, &z));
		if (z.zeropage > 0)
			done += (size_t)z.zeropage;
		if (r < 0 && r != -EAGAIN)
			break;
	}
	return done ? (long)done : r;
}

int tf_linux_uffd_poison(const struct tf_os *os, int uffd, void *addr,
			 size_t len)
{
	struct poison_arg p = { .range = range_of(addr, len) };

	(void)os;
	return (int)tf_sys_result(ioctl(uffd, IOCTL_POISON, &p));
}

int tf_linux_uffd_read(const struct tf_os *os, int uffd, struct uffd_msg *msg,
		       unsigned n)
{
	long r = tf_sys_result(syscall(SYS_read, uffd, msg, n * sizeof(*msg)));

	(void)os;
	return (int)(r < 0 ? r : r / (long)sizeof(*msg));
}

int tf_linux_pagemap_open(const struct tf_os *os)
{
	(void)os;
	return (int)tf_sys_result(syscall(SYS_openat, AT_FDCWD,
					  "/proc/self/pagemap",
					  O_RDONLY | O_CLOEXEC));
}

long tf_linux_pagemap_scan(const struct tf_os *os, int fd, struct tf_scan *scan)
{
	(void)os;
	scan->size = sizeof(*scan);
	return tf_sys_result(ioctl(fd, IOCTL_PAGEMAP_SCAN, scan));
}

long tf_linux_pagemap_read(const struct tf_os *os, int fd, const void *addr,
			   uint64_t *entries, size_t n)
{
	uint64_t off = ((uintptr_t)addr >> TF_PAGE_SHIFT) * sizeof(*entries);
	long r = tf_sys_result(
		syscall(SYS_pread64, fd, entries, n * sizeof(*entries), off));

	(void)os;
	return r < 0 ? r : r / (long)sizeof(*entries);
}
