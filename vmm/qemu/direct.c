/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Direct I/O of QEMU's, which nobody declares to the engine. Where the file
 * system pins the pages of a request the fence refuses them, and nothing can
 * be lost. Where it only refers to them, a page that is merged meanwhile would
 * lose what the device reads into it: then nothing is merged.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/qemu/preload.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* Those whose direct I/O goes through the kernel's iomap or bio layers, which
 * pin (FOLL_PIN) from Linux 6.5 on; UFFDIO_MOVE is younger. */
static bool pins(long type)
{
	return type == EXT4_SUPER_MAGIC || type == XFS_SUPER_MAGIC ||
	       type == BTRFS_SUPER_MAGIC;
}

static void forbid(int fd, long type)
{
	char link[32], path[100], why[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	snprintf(why, sizeof(why),
		 "%s is open with O_DIRECT on a file system (type %#lx) that "
		 "is not known to pin pages; use cache=writeback, or ext4, "
		 "xfs, btrfs or a block device",
		 path, type);
	tq_scan_forbid(why);
}

void tq_direct_check(int fd, int flags)
{
	int saved = errno;
	struct statfs fs;
	struct stat st;

	if (fd < 0 || !(flags & O_DIRECT))
		return;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && !fstatfs(fd, &fs) &&
	    !pins(fs.f_type))
		forbid(fd, fs.f_type);
	errno = saved;
}

void tq_direct_check_all(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;

	if (!dir)
		tq_scan_forbid("/proc/self/fd cannot be read: there may be "
			       "direct I/O that does not pin pages");
	while (dir && (entry = readdir(dir))) {
		int fd = (int)strtol(entry->d_name, NULL, 10);
		int flags = tq_real()->fcntl(fd, F_GETFL);

		if (flags >= 0)
			tq_direct_check(fd, flags);
	}
	if (dir)
		closedir(dir);
}
