/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers of /proc/meminfo, /proc/zoneinfo, /proc/self/maps and
 * /proc/self/smaps. Must not allocate much: what they allocate is part of
 * what they measure. No locks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/meminfo.h"

struct field {
	const char *name;
	int free_sign;
	int kernel_sign;
};

static const struct field fields[] = {
	{ "MemFree:", 1, 0 },    { "Buffers:", 1, 0 },
	{ "Cached:", 1, 0 },     { "SReclaimable:", 1, 0 },
	{ "Shmem:", -1, 0 },     { "Slab:", 0, 1 },
	{ "PageTables:", 0, 1 }, { "KernelStack:", 0, 1 },
};

static void add_line(const char *line, struct meminfo *m)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		size_t n = strlen(fields[i].name);
		int64_t bytes;

		if (strncmp(line, fields[i].name, n))
			continue;
		bytes = atoll(line + n) * 1024;
		m->free_bytes += fields[i].free_sign * bytes;
		m->kernel_bytes += fields[i].kernel_sign * bytes;
	}
}

/* Call `use` with every line of a file. */
static int each_line(const char *path,
		     void (*use)(const char *line, struct meminfo *m),
		     struct meminfo *m)
{
	char line[256];
	FILE *in = fopen(path, "re");

	if (!in)
		return -errno;
	while (fgets(line, sizeof(line), in))
		use(line, m);
	fclose(in);
	return 0;
}

/*
 * Freed pages rest in per-CPU lists, up to 80 MiB a CPU, and MemFree does
 * not count them. /proc/zoneinfo says how many they are: "count: N".
 */
static void add_zone_line(const char *line, struct meminfo *m)
{
	long long pages;

	if (sscanf(line, " count: %lld", &pages) == 1)
		m->free_bytes += pages * 4096;
}

int meminfo_read(struct meminfo *ret)
{
	struct meminfo m = { 0 };
	int err = each_line("/proc/meminfo", add_line, &m);

	err = err ? err : each_line("/proc/zoneinfo", add_zone_line, &m);
	if (!err)
		*ret = m;
	return err;
}

/* Reading this folds the per-CPU counters; it needs root and may fail. */
static void fold_counters(void)
{
	char byte;
	FILE *in = fopen("/proc/sys/vm/stat_refresh", "re");

	if (!in)
		return;
	if (fread(&byte, 1, 1, in)) {
		/* The file is empty; reading it is what counts. */
	}
	fclose(in);
}

int meminfo_settled(struct meminfo *ret)
{
	const struct timespec pause = { .tv_nsec = 250 * 1000 * 1000 };
	const int64_t close_enough = 128 * 1024;
	struct meminfo now, before;
	int err;

	fold_counters();
	err = meminfo_read(&before);
	now = before;
	for (int i = 0; !err && i < 12; i++) {
		nanosleep(&pause, NULL);
		fold_counters();
		err = meminfo_read(&now);
		if (err ||
		    llabs(now.free_bytes - before.free_bytes) < close_enough)
			break;
		before = now;
	}
	if (!err)
		*ret = now;
	return err;
}

long meminfo_vmas(void)
{
	FILE *in = fopen("/proc/self/maps", "re");
	char buf[65536];
	size_t got;
	long lines = 0;

	if (!in)
		return -errno;
	while ((got = fread(buf, 1, sizeof(buf), in)))
		for (size_t i = 0; i < got; i++)
			lines += buf[i] == '\n';
	fclose(in);
	return lines;
}

int meminfo_anon_outside(const void *base, size_t bytes, uint64_t *ret)
{
	uintptr_t from = (uintptr_t)base, to = from + bytes;
	unsigned long start, end, kb;
	int outside = 0;
	uint64_t sum = 0;
	char line[512];
	FILE *in = fopen("/proc/self/smaps", "re");

	if (!in)
		return -errno;
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			outside = end <= from || start >= to;
		else if (outside && sscanf(line, "Anonymous: %lu", &kb) == 1)
			sum += kb * 1024;
	}
	fclose(in);
	*ret = sum;
	return 0;
}
