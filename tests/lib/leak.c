/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counts of /proc/self. A sanitizer's runtime maps memory whenever it likes:
 * there only the mappings of stores are compared.
 */
#include "lib/leak.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/threads.h"

static unsigned count_entries(const char *path)
{
	unsigned n = 0;
	DIR *d = opendir(path);

	if (!d)
		test_fail("%s cannot be read", path);
	for (const struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void count_maps(struct leak *ret, bool print)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	if (!f)
		test_fail("/proc/self/maps cannot be read");
	while (fgets(line, sizeof(line), f)) {
		ret->maps++;
		ret->stores += strstr(line, "twinfold-store") != NULL;
		if (print)
			fputs(line, stderr);
	}
	fclose(f);
}

static void *tell_tid(void *arg)
{
	*(pid_t *)arg = gettid();
	return NULL;
}

/* A joined thread leaves the task list a moment later. */
static void wait_gone(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", (int)tid);
	while (access(path, F_OK) == 0)
		test_nap(0.001);
}

/* A sanitizer's own thread comes with the first thread of the program. */
static void wake_runtime(void)
{
	static bool awake;
	pid_t tid = 0;
	pthread_t t;

	if (awake || pthread_create(&t, NULL, tell_tid, &tid))
		return;
	pthread_join(t, NULL);
	wait_gone(tid);
	awake = true;
}

void leak_take(struct leak *ret)
{
	wake_runtime();
	*ret = (struct leak){
		.fds = count_entries("/proc/self/fd"),
		.threads = count_entries("/proc/self/task"),
	};
	count_maps(ret, false);
}

static bool sanitized(void)
{
	const char *kind = getenv("TF_SANITIZE");

	return kind && *kind;
}

void leak_check(const struct leak *before)
{
	struct leak now;

	leak_take(&now);
	for (int i = 0; i < 100 && now.threads > before->threads; i++) {
		test_nap(0.01);
		leak_take(&now);
	}
	if (now.fds == before->fds && now.threads == before->threads &&
	    now.stores == before->stores &&
	    (sanitized() || now.maps == before->maps))
		return;
	count_maps(&now, true);
	leak_take(&now);
	test_fail("left behind: descriptors %u -> %u, threads %u -> %u, "
		  "store mappings %u -> %u, mappings %u -> %u",
		  before->fds, now.fds, before->threads, now.threads,
		  before->stores, now.stores, before->maps, now.maps);
}
