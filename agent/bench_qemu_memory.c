/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's RAM and threads, seen from outside: /proc/PID/maps, pagemap, mem
 * and task. Must never bring a page into being that was not there: only
 * pages that were present are touched. No state, no locks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/bench_qemu.h"
#include "agent/knob.h"

#define PRESENT (1ull << 63)
#define CHUNK 512

static int open_of(const struct qemu_guest *guest, const char *what)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)guest->pid, what);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* RAM is the private mapping of its size. 0: there is none. */
static uintptr_t find_ram(const struct qemu_guest *guest, size_t bytes)
{
	int fd = open_of(guest, "maps");
	FILE *in = fd < 0 ? NULL : fdopen(fd, "r");
	unsigned long start, end;
	char line[512], perms[5];
	uintptr_t ram = 0;

	while (in && !ram && fgets(line, sizeof(line), in))
		if (sscanf(line, "%lx-%lx %4s", &start, &end, perms) == 3 &&
		    end - start == bytes && !strcmp(perms, "rw-p"))
			ram = start;
	if (in)
		fclose(in);
	return ram;
}

static int note_chunk(struct qemu_guest *guest, int fd, size_t first)
{
	uint64_t entries[CHUNK];
	off_t at = (off_t)((guest->ram / BENCH_PAGE + first) * 8);

	if (pread(fd, entries, sizeof(entries), at) != (ssize_t)sizeof(entries))
		return -1;
	for (size_t i = 0; i < CHUNK; i++)
		guest->present[first + i] = entries[i] & PRESENT;
	return 0;
}

int qemu_note_pages(struct qemu_guest *guest, unsigned mem_mib)
{
	int fd = open_of(guest, "pagemap"), err = fd < 0;

	guest->pages = bench_pages(mem_mib);
	guest->ram = find_ram(guest, guest->pages * BENCH_PAGE);
	guest->present = calloc(guest->pages, sizeof(bool));
	if (!guest->ram || !guest->present)
		err = -1;
	for (size_t i = 0; !err && i < guest->pages; i += CHUNK)
		err = note_chunk(guest, fd, i);
	if (fd >= 0)
		close(fd);
	if (err)
		return bench_fail(TF_EXIT_FAILED, "cannot see a guest's RAM");
	return TF_EXIT_OK;
}

int qemu_touch(const struct qemu_guest *guest)
{
	int fd = open_of(guest, "mem"), err = fd < 0;
	unsigned char byte;

	for (size_t i = 0; !err && i < guest->pages; i++)
		if (guest->present[i])
			err = pread(fd, &byte, 1,
				    (off_t)(guest->ram + i * BENCH_PAGE)) != 1;
	if (fd >= 0)
		close(fd);
	if (err)
		return bench_fail(TF_EXIT_FAILED, "cannot read a guest's RAM");
	return TF_EXIT_OK;
}

/*
 * The library's threads, and io_uring's workers: this QEMU has no disk. The
 * control socket's thread works for the bench alone.
 */
static bool is_ours(const char *name)
{
	if (!strcmp(name, "twinfold-ctl"))
		return false;
	return !strncmp(name, "twinfold", 8) || !strncmp(name, "iou-", 4);
}

static uint64_t thread_cpu_ns(const struct qemu_guest *guest, const char *tid)
{
	char path[96], text[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm",
		 (int)guest->pid, tid);
	if (knob_read(path, text, sizeof(text)) || !is_ours(text))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat",
		 (int)guest->pid, tid);
	if (knob_read(path, text, sizeof(text)))
		return 0;
	return strtoull(text, NULL, 10);
}

uint64_t qemu_library_cpu_ns(const struct qemu_guest *guest)
{
	char path[64];
	struct dirent *d;
	uint64_t ns = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)guest->pid);
	tasks = opendir(path);
	while (tasks && (d = readdir(tasks)))
		ns += thread_cpu_ns(guest, d->d_name);
	if (tasks)
		closedir(tasks);
	return ns;
}
