/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The clock of waits and durations. */
#ifndef TWINFOLD_AGENT_CLOCK_H
#define TWINFOLD_AGENT_CLOCK_H

#include <time.h>

/* Seconds since some moment; never goes back. Any thread. */
static inline double clock_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#endif
