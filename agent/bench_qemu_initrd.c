/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The initramfs of a bench guest: a cpio archive ("newc") with /init, /dev
 * and its console, in memory. No state, no locks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/bench_qemu.h"

extern const unsigned char bench_guest_start[], bench_guest_end[];

struct member {
	const char *name;
	unsigned mode, major, minor;
	const unsigned char *bytes;
	size_t size;
};

static void pad(FILE *out)
{
	while (ftell(out) % 4)
		putc(0, out);
}

/* Fields: inode, mode, uid, gid, links, time, size, device, its own, name. */
static void put(FILE *out, const struct member *m)
{
	fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08zx", 0u, m->mode, 0u, 0u,
		1u, 0u, m->size);
	fprintf(out, "%08x%08x%08x%08x%08zx%08x", 0u, 0u, m->major, m->minor,
		strlen(m->name) + 1, 0u);
	fwrite(m->name, strlen(m->name) + 1, 1, out);
	pad(out);
	fwrite(m->bytes, 1, m->size, out);
	pad(out);
}

int qemu_initrd(void)
{
	const struct member members[] = {
		{ .name = "dev", .mode = S_IFDIR | 0755 },
		{ .name = "dev/console",
		  .mode = S_IFCHR | 0600,
		  .major = 5,
		  .minor = 1 },
		{ .name = "init",
		  .mode = S_IFREG | 0755,
		  .bytes = bench_guest_start,
		  .size = (size_t)(bench_guest_end - bench_guest_start) },
		{ .name = "TRAILER!!!" },
	};
	int fd = memfd_create("initrd", 0);
	FILE *out = fd < 0 ? NULL : fdopen(dup(fd), "w");

	if (!out)
		return -errno;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		put(out, &members[i]);
	return fclose(out) ? -EIO : fd;
}
