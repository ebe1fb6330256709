/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See victim.h. */
#include "agent/drillhost/victim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "agent/drillhost/offline.h"

#define PAGE_BYTES 4096u
#define PRESENT (UINT64_C(1) << 63)
#define PFN ((UINT64_C(1) << 55) - 1)
#define ANSWER_S 60.0
#define WAIT_TRIES 1500
#define WAIT_NS 10000000

static int read_entry(const char *path, uint64_t page, uint64_t *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, ret, sizeof(*ret), (off_t)(page * sizeof(*ret)));
	close(fd);
	return n == sizeof(*ret) ? 0 : -EIO;
}

static int read_pagemap(const char *path, uint64_t hva, uint64_t *ret)
{
	uint64_t entry = 0;
	int r = read_entry(path, hva / PAGE_BYTES, &entry);

	if (r)
		return r;
	if (!(entry & PRESENT) || !(entry & PFN))
		return -ENOENT;
	*ret = (entry & PFN) * PAGE_BYTES;
	return 0;
}

int victim_pa(const void *hva, uint64_t *ret)
{
	return read_pagemap("/proc/self/pagemap", (uintptr_t)hva, ret);
}

int victim_pa_of(pid_t pid, uint64_t hva, uint64_t *ret)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	return read_pagemap(path, hva, ret);
}

int victim_flags(uint64_t pa, uint64_t *ret)
{
	return read_entry("/proc/kpageflags", pa / PAGE_BYTES, ret);
}

static int ask(struct cell *cell, json_t *request)
{
	json_t *answer = NULL;
	int r = channel_send(cell->outer, request);

	if (!r)
		r = channel_receive(cell->outer, ANSWER_S, &answer);
	if (r)
		return r;
	r = -(int)json_integer_value(json_object_get(answer, "error"));
	json_decref(answer);
	return r;
}

struct aim {
	unsigned cpu;
	const void *from, *to;
};

static int lose(struct cell *cell, uint64_t pa, enum lose_how how,
		const struct aim *aim)
{
	cell->row->faults += how != LOSE_CORRECTED && how != LOSE_BYTES;
	return ask(cell,
		   json_pack("{s:s,s:I,s:i,s:I,s:I}", "lose", lose_name(how),
			     "pa", (json_int_t)pa, "cpu", (int)aim->cpu, "from",
			     (json_int_t)(uintptr_t)aim->from, "to",
			     (json_int_t)(uintptr_t)aim->to));
}

int victim_lose_at(struct cell *cell, uint64_t pa, enum lose_how how,
		   const void *from, const void *to)
{
	return lose(cell, pa, how, &(struct aim){ .from = from, .to = to });
}

int victim_lose_on(struct cell *cell, uint64_t pa, enum lose_how how,
		   unsigned cpu)
{
	return lose(cell, pa, how, &(struct aim){ .cpu = cpu });
}

int victim_lose(struct cell *cell, uint64_t pa, enum lose_how how)
{
	int r = victim_lose_on(cell, pa, how, 0);

	if (!r && how == LOSE_HARD_OFFLINE)
		r = offline_hard(pa);
	if (!r && how == LOSE_CORRUPT_PFN)
		r = offline_corrupt_pfn(pa);
	return r;
}

int victim_count(uint64_t *ret)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[256];
	uint64_t kib;
	int r = -ENOENT;

	while (file && r && fgets(line, sizeof(line), file))
		if (sscanf(line, "HardwareCorrupted: %" SCNu64, &kib) == 1)
			r = 0;
	if (file)
		fclose(file);
	if (!r)
		*ret = kib * 1024 / PAGE_BYTES;
	return r;
}

int victim_wait(uint64_t n)
{
	static const struct timespec pause = { .tv_nsec = WAIT_NS };
	uint64_t now = 0;

	for (int i = 0; i < WAIT_TRIES; i++) {
		int r = victim_count(&now);

		if (r || now >= n)
			return r;
		nanosleep(&pause, NULL);
	}
	return -ETIMEDOUT;
}

int victim_late(void)
{
	return prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0) ?
		       -errno :
		       0;
}
