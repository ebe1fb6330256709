/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twinfold/stats.h - the counters of an engine.
 *
 * Names that KSM has (/sys/kernel/mm/ksm, Documentation/mm/ksm.rst) mean what
 * they mean there. Unit: pages of 4096 bytes, unless the name says bytes.
 * Level counters describe now; the others only grow.
 */
#ifndef TWINFOLD_STATS_H
#define TWINFOLD_STATS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tf_stats {
	size_t size;
	/* Levels. */
	uint64_t pages_shared;   /* stable copies in use */
	uint64_t pages_sharing;  /* further frames that share them */
	uint64_t pages_unshared; /* settled, hashed, and unique so far */
	uint64_t pages_volatile; /* seen written too lately to be looked at */
	uint64_t zero_pages;     /* frames that are the kernel's zero page */
	uint64_t pages_cow;      /* copied by the kernel, left alone */
	uint64_t chains;         /* contents that have a stable copy */
	uint64_t chain_dups;     /* stable copies beyond the first of a chain */
	uint64_t vmas;           /* mappings that merging added, estimated */
	uint64_t vma_budget;     /* how many it may add */
	uint64_t pages_refused;  /* left on the table: would merge if there
				  * were mappings left */
	uint64_t pages_handed;   /* given to the kernel's KSM (scatter) */
	uint64_t metadata_bytes; /* memory the engine keeps for itself */
	int64_t profit_bytes;    /* saved, less metadata, VMAs, page tables */
	uint64_t pages_recoverable; /* sharers with a second healthy dup */
	uint64_t quarantined;       /* poisoned stable slots */
	/* Counters. */
	uint64_t pages_scanned;
	uint64_t pages_hashed;
	uint64_t full_scans;
	uint64_t breaks;         /* shared frames written by their guest */
	uint64_t breaks_ahead;   /* broken with a neighbour, before the write */
	uint64_t pages_gathered; /* that broke, back in one mapping */
	uint64_t budget_refused; /* merges not made for want of VMAs */
	uint64_t fence_busy;     /* fences refused: pinned or forked */
	uint64_t fence_changed;  /* fences undone: the page had changed */
	uint64_t heals;
	uint64_t heals_fresh_copy;
	uint64_t heals_existing_dup;
	uint64_t heals_other;
	uint64_t vmces;
	uint64_t unrecoverable;
	uint64_t transient_failed;
	/* What this host can do: 1 or 0. */
	uint64_t can_merge;  /* UFFDIO_MOVE is there, merging is on: not while
			      * mlockall(MCL_FUTURE) is in force, as the last
			      * pass saw it */
	uint64_t scan_dirty; /* written-since tracking is in use */
	/* A level: unique pages that are kept in the store so that the shared
	 * pages around them are one mapping. In none of the levels above but
	 * chains. */
	uint64_t pages_bridged;
};

struct tf_guest_stats {
	size_t size;
	uint64_t pages_seen;   /* frames that were populated when last seen */
	uint64_t pages_merged; /* frames mapped to a stable copy, bridges
				* aside */
	uint64_t zero_pages;
	uint64_t pages_cow;
	uint64_t breaks;
	uint64_t memslots;
	uint64_t bytes;         /* guest RAM registered */
	uint64_t pages_bridged; /* unique frames mapped to the store */
};

#ifdef __cplusplus
}
#endif
#endif
