/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's own page merging, as a peer to measure against: its settings,
 * its counters (/sys/kernel/mm/ksm) and the CPU time of its thread. Settings
 * are changed through agent/knob.h, which puts them back.
 */
#ifndef TWINFOLD_AGENT_KSM_H
#define TWINFOLD_AGENT_KSM_H

#include <stdbool.h>
#include <stdint.h>

#define KSM_RUN "/sys/kernel/mm/ksm/run"

struct ksm_counts {
	uint64_t shared;     /* pages_shared */
	uint64_t sharing;    /* pages_sharing */
	uint64_t zero_pages; /* ksm_zero_pages, 0 on older kernels */
	uint64_t full_scans;
};

/*
 * 0 when KSM is there, idle, and may be set up by this process. Otherwise a
 * negative errno and the reason in *why: ENOENT, EPERM, EBUSY (other
 * processes share pages by it now).
 */
int ksm_usable(const char **why);

/* KSM at its best, nothing merged, not running. Once, after knob_guard(). */
int ksm_setup(bool use_zero_pages);

/* Nothing merged, not running, settings as they are. */
int ksm_clear(void);

/* Let ksmd run or wait. Stopping waits for its current batch. */
int ksm_run(bool on);

int ksm_counts(struct ksm_counts *ret);

/* CPU time of ksmd since boot, in ns. */
int ksm_cpu_ns(uint64_t *ret);

#endif
