/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The initramfs of a bench guest, in memory. No state, no locks. */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/bench_qemu.h"
#include "agent/cpio.h"

extern const unsigned char bench_guest_start[], bench_guest_end[];

int qemu_initrd(void)
{
	int fd = memfd_create("initrd", 0);
	FILE *out = fd < 0 ? NULL : fdopen(dup(fd), "w");

	if (!out)
		return -errno;
	cpio_put_init(out, bench_guest_start,
		      (size_t)(bench_guest_end - bench_guest_start));
	cpio_end(out);
	return fclose(out) ? -EIO : fd;
}
