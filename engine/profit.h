/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is a merge worth it? Bytes saved against mappings, metadata, and the chance
 * that it is written again soon.
 */
#ifndef TF_ENGINE_PROFIT_H
#define TF_ENGINE_PROFIT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/frame.h"

/*
 * Kernel memory of one mapping: a vm_area_struct (192 bytes), its share of
 * anon_vma_chain and of maple tree nodes. Two of them, which one scattered
 * page costs, were measured as about 490 bytes (Linux 6.18).
 */
#define TF_VMA_BYTES 245u

/* What merging a page would extend or start. */
struct tf_run {
	unsigned pages; /* that would lie in one mapping, this one included */
	bool joins;     /* it continues a merged run: no new mapping */
};

/*
 * The run that begins at `page`, as far as pages [page, page + most) of the
 * block are to be looked at (`look`) and hashes tell. Caller holds the lock.
 */
struct tf_run tf_run_at(const struct tf_block *b, unsigned page,
			const struct tf_bits *look, const uint64_t *hash,
			unsigned most);

/*
 * Does merging this NEW frame, as part of this run, pay? A frame that broke
 * soon after merging is expected to break again, the less so the longer it has
 * waited since.
 */
bool tf_profit_pays(const struct tf_run *run, const struct tf_frame *f);

/* What became of a guest's bridges (bridge.h), lately. */
struct tf_bridges {
	uint32_t made;
	uint32_t broke; /* of those: breaks that their guest waited for */
};

/* Does it pay to bridge a gap of so many pages? */
bool tf_profit_bridge(const struct tf_bridges *past, unsigned gap);

/* A break within so many passes of the merge counts as soon. */
#define TF_BREAK_SOON 8u

#endif
