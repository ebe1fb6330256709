/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mapping stable slots over frames, and holes over what is given up: the only
 * two places where the engine uses MAP_FIXED on guest memory.
 */
#ifndef TF_ENGINE_MAPPING_H
#define TF_ENGINE_MAPPING_H

#include <stdbool.h>

#include "engine/region.h"

/*
 * Map `n` adjacent slots over [addr, addr + n pages), write-protected in the
 * merged context. Whoever could write there is either shut out by the fence or
 * waits in a write-protection fault. Waiters are not woken.
 *
 * 0: mapped; *protected_ret says whether the protection stands. If it does
 *    not, the kernel copies on write by itself: safe, but not to be merged
 *    again.
 * -errno: not mapped. There may be no mapping at all any more.
 */
int tf_map_slots(struct tf_region *r, char *addr, unsigned n, uint32_t slot,
		 bool *protected_ret);

/*
 * Which of the `n` <= TF_BLOCK_PAGES pages from `addr` on, as far as slots
 * were mapped there, did the kernel copy by itself in the instant between
 * mapping and protecting? copied[i] is set for each. -errno: unknown; treat
 * all as copied.
 */
int tf_find_copied(const struct tf_engine *e, const char *addr, unsigned n,
		   bool *copied);

/*
 * Write-protect merged pages in the merged context. Every page is touched,
 * unless tf_find_copied() can tell an untouched one from a copy that was
 * swapped out (marker.h). False: the protection does not stand.
 */
bool tf_protect(const struct tf_engine *e, char *addr, unsigned n);

/* Give up the protection of a merged page, and wake its writers. */
void tf_unprotect(struct tf_engine *e, char *addr, unsigned n);

/*
 * Replace [addr, addr + n pages) by a hole with the region's attributes: it
 * reads as zeros. Registered as `armed` says.
 */
int tf_map_hole(struct tf_region *r, char *addr, unsigned n, bool armed);

/*
 * Register private memory that was just put in place. Where that fails the
 * pages are remembered as `blind`: a fence over them would shut nobody out,
 * and the walker does not see writes to them.
 */
void tf_watch(struct tf_region *r, char *addr, unsigned n, bool armed);

/* Try again for one page of an armed block. False: still blind. */
bool tf_watched(struct tf_block *b, unsigned page);

/*
 * Mappings that begin at a page or behind it; and count them again after that
 * page alone has changed. In constant time.
 */
unsigned tf_borders(const struct tf_block *b, unsigned page);
void tf_count_borders(struct tf_block *b, unsigned page, unsigned before);

/* Count the mappings of a block again; the engine's sum follows. */
void tf_count_vmas(struct tf_block *b);

#endif
