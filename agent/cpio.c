/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See cpio.h. */
#include "agent/cpio.h"

#include <string.h>
#include <sys/stat.h>

static void pad(FILE *out)
{
	while (ftell(out) % 4)
		putc(0, out);
}

/* Fields: inode, mode, uid, gid, links, time, size, device, its own, name. */
void cpio_put(FILE *out, const struct cpio_member *m)
{
	fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08zx", 0u, m->mode, 0u, 0u,
		1u, 0u, m->size);
	fprintf(out, "%08x%08x%08x%08x%08zx%08x", 0u, 0u, m->major, m->minor,
		strlen(m->name) + 1, 0u);
	fwrite(m->name, strlen(m->name) + 1, 1, out);
	pad(out);
	if (m->size)
		fwrite(m->bytes, m->size, 1, out);
	pad(out);
}

void cpio_put_init(FILE *out, const void *program, size_t size)
{
	const struct cpio_member members[] = {
		{ .name = "dev", .mode = S_IFDIR | 0755 },
		{ .name = "dev/console",
		  .mode = S_IFCHR | 0600,
		  .major = 5,
		  .minor = 1 },
		{ .name = "init",
		  .mode = S_IFREG | 0755,
		  .bytes = program,
		  .size = size },
	};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		cpio_put(out, &members[i]);
}

void cpio_end(FILE *out)
{
	cpio_put(out, &(struct cpio_member){ .name = "TRAILER!!!" });
}
