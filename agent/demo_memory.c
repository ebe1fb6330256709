/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much memory this process takes, measured: its anonymous pages (from
 * /proc/self/smaps_rollup) and the pages of its memfds, each file once. Rss
 * would not do: it counts a shared page once for every place it is mapped at.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/demo.h"

#define MEMFDS_MAX 4096

struct seen {
	unsigned n;
	ino_t ino[MEMFDS_MAX];
};

static int anonymous_bytes(uint64_t *ret)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	unsigned long long kib;
	char line[256];
	int r = -ENODATA;

	if (!f)
		return -errno;
	while (r && fgets(line, sizeof(line), f))
		if (sscanf(line, "Anonymous: %llu kB", &kib) == 1)
			r = 0;
	fclose(f);
	if (!r)
		*ret = kib << 10;
	return r;
}

static bool is_memfd(int dir, const char *name)
{
	char target[16];
	ssize_t n = readlinkat(dir, name, target, sizeof(target));

	return n > 7 && !memcmp(target, "/memfd:", 7);
}

static bool is_new(struct seen *seen, ino_t ino)
{
	for (unsigned i = 0; i < seen->n; i++)
		if (seen->ino[i] == ino)
			return false;
	if (seen->n < MEMFDS_MAX)
		seen->ino[seen->n++] = ino;
	return true;
}

static int memfd_bytes(uint64_t *ret)
{
	DIR *dir = opendir("/proc/self/fd");
	struct seen *seen = calloc(1, sizeof(*seen));
	const struct dirent *e;
	struct stat st;
	uint64_t bytes = 0;

	while (dir && seen && (e = readdir(dir)))
		if (is_memfd(dirfd(dir), e->d_name) &&
		    !fstatat(dirfd(dir), e->d_name, &st, 0) &&
		    is_new(seen, st.st_ino))
			bytes += (uint64_t)st.st_blocks * 512;
	if (dir)
		closedir(dir);
	if (!dir || !seen) {
		free(seen);
		return -ENOMEM;
	}
	free(seen);
	*ret = bytes;
	return 0;
}

int demo_memory(uint64_t *ret)
{
	uint64_t anonymous = 0, memfds = 0;
	int r = anonymous_bytes(&anonymous);

	if (!r)
		r = memfd_bytes(&memfds);
	if (!r)
		*ret = anonymous + memfds;
	return r;
}
