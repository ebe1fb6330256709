/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See offline.h. */
#include "agent/drillhost/offline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "agent/knob.h"

#define MEMORY "/sys/devices/system/memory/"
#define PAGE_BYTES 4096
#define TRIES 50

static int write_number(const char *path, uint64_t n)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%" PRIx64, n);
	return knob_write(path, text);
}

int offline_hard(uint64_t pa)
{
	return write_number(MEMORY "hard_offline_page", pa);
}

int offline_corrupt_pfn(uint64_t pa)
{
	return write_number("/sys/kernel/debug/hwpoison/corrupt-pfn",
			    pa / PAGE_BYTES);
}

int offline_soft(uint64_t pa)
{
	static const struct timespec pause = { .tv_nsec = 20000000 };
	int r = -EBUSY;

	for (int i = 0; i < TRIES && (r == -EBUSY || r == -EAGAIN); i++) {
		if (i)
			nanosleep(&pause, NULL);
		r = write_number(MEMORY "soft_offline_page", pa);
	}
	return r;
}
