/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An initramfs in memory: a cpio archive ("newc", Linux:
 * Documentation/driver-api/early-userspace/buffer-format.rst). No state, no
 * locks.
 */
#ifndef TWINFOLD_AGENT_CPIO_H
#define TWINFOLD_AGENT_CPIO_H

#include <stddef.h>
#include <stdio.h>

struct cpio_member {
	const char *name; /* no slash in front */
	unsigned mode, major, minor;
	const void *bytes;
	size_t size;
};

/* Append one member. Want of room shows when `out` is closed. */
void cpio_put(FILE *out, const struct cpio_member *member);

/*
 * The folders and the console that every first program needs, and this
 * program as /init.
 */
void cpio_put_init(FILE *out, const void *program, size_t size);

/* The member that ends an archive. */
void cpio_end(FILE *out);

#endif
