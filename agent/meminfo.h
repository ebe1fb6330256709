/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What memory costs, seen from outside: the host's /proc/meminfo and this
 * process's own maps. Reads only; no state, no locks.
 */
#ifndef TWINFOLD_AGENT_MEMINFO_H
#define TWINFOLD_AGENT_MEMINFO_H

#include <stddef.h>
#include <stdint.h>

struct meminfo {
	/* MemFree + Buffers + Cached + SReclaimable - Shmem, in bytes: what
	 * the host could hand out. Pages of a memfd count as used; free pages
	 * in per-CPU lists, which MemFree leaves out, count as free. */
	int64_t free_bytes;
	/* Slab + PageTables + KernelStack, in bytes. */
	int64_t kernel_bytes;
};

int meminfo_read(struct meminfo *ret);

/* As meminfo_read(), once two readings in a row agree or 3 s are over. */
int meminfo_settled(struct meminfo *ret);

/* Number of mappings of this process, or a negative errno. */
long meminfo_vmas(void);

/* Anonymous memory of this process outside [base, base + bytes). */
int meminfo_anon_outside(const void *base, size_t bytes, uint64_t *ret);

#endif
