/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counts of /proc/self. */
#include "lib/process.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/threads.h"

/* Of linux/sched.h: set before whoever joins the thread goes on; and a worker
 * of io_uring. */
#define PF_EXITING 0x4u
#define PF_IO_WORKER 0x10u

static DIR *open_list(const char *path)
{
	DIR *dir = opendir(path);

	if (!dir)
		test_fail("%s cannot be read", path);
	return dir;
}

/* Less the one that reads them. */
unsigned process_fds(void)
{
	DIR *dir = open_list("/proc/self/fd");
	unsigned n = 0;

	for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n - 1;
}

unsigned process_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned n = 0;

	if (!file)
		test_fail("/proc/self/maps cannot be read");
	for (int c = getc(file); c != EOF; c = getc(file))
		n += c == '\n';
	fclose(file);
	return n;
}

/* Whether the thread is there, and its flags. */
static bool read_flags(const char *tid, unsigned *flags)
{
	char path[320], text[1024];
	bool there;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%s/stat", tid);
	file = fopen(path, "re");
	if (!file)
		return false;
	there = fgets(text, sizeof(text), file);
	fclose(file);
	/* Behind the name: state, ppid, pgrp, session, tty_nr, tpgid, flags */
	if (there && sscanf(strrchr(text, ')') + 2,
			    "%*c %*d %*d %*d %*d %*d %u", flags) != 1)
		test_fail("%s: no flags in '%s'", path, text);
	return there;
}

unsigned process_threads_with(unsigned flags, pid_t *last)
{
	DIR *dir = open_list("/proc/self/task");
	unsigned n = 0, has;

	for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		if (e->d_name[0] == '.' || !read_flags(e->d_name, &has) ||
		    has & (PF_EXITING | PF_IO_WORKER) || (has & flags) != flags)
			continue;
		*last = atoi(e->d_name);
		n++;
	}
	closedir(dir);
	return n;
}

unsigned process_threads(void)
{
	pid_t last;

	return process_threads_with(0, &last);
}
