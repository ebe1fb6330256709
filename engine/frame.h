/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames, blocks and the frame table.
 *
 * A frame is one 4 KiB page of guest RAM. Its entry is 12 bytes and sits in a
 * block of 512, allocated when the block's first page is seen; a hole costs
 * nothing. Blocks follow the host's 2 MiB boundaries, so that a huge page
 * never spans two. A memslot finds its blocks through directories of 512
 * blocks (1 GiB), and everybody else names a frame by a 32-bit reference.
 *
 * The linear index of a frame is its page number within the guest's RAM. It
 * is fixed when the memslot is registered and never computed from where the
 * page is mapped today.
 */
#ifndef TF_ENGINE_FRAME_H
#define TF_ENGINE_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bitmap.h"
#include "engine/os.h"

#define TF_BLOCK_SHIFT 9
#define TF_BLOCK_PAGES (1u << TF_BLOCK_SHIFT)
#define TF_BLOCK_BYTES (TF_BLOCK_PAGES * TF_PAGE)
#define TF_DIR_BLOCKS 512u

enum tf_frame_state {
	TF_FRAME_NONE,      /* not seen, or gone again */
	TF_FRAME_NEW,       /* seen; waits to be settled */
	TF_FRAME_CANDIDATE, /* settled and hashed, no twin yet */
	TF_FRAME_SHARED,    /* mapped to a dup, write-protected */
	TF_FRAME_ZERO,      /* we put the kernel's zero page here */
	TF_FRAME_COW,       /* mapped to a slot without protection: the kernel
			     * copies or has copied it; left alone */
};

enum {
	TF_FRAME_HASHED = 1 << 0,  /* NEW: fresh.hash and tag are valid */
	TF_FRAME_FOREIGN = 1 << 1, /* sits in a mapping of its own */
	TF_FRAME_BORDER = 1 << 2,  /* a mapping may begin with it */
};

/*
 * INVARIANT: the candidate's and the sharer's data overlay each other; `state`
 * is read before either. Every way out of SHARED, COW or CANDIDATE goes
 * through tf_frame_reset(), after which the entry equals that of a frame just
 * seen. FOREIGN, BORDER, `history` and `vain` live outside the overlay and
 * survive.
 */
struct tf_frame {
	union {
		struct {
			uint32_t hash;  /* low half of the hash */
			uint32_t looks; /* passes waited so far */
		} fresh;                /* NEW */
		struct {
			uint32_t hash; /* low half of the hash */
			uint32_t next; /* next frame of the bucket, 0 = none */
		} cand;                /* CANDIDATE */
		struct {
			uint32_t dup;  /* the dup it is mapped to */
			uint32_t when; /* pass of the merge */
		} shared;              /* SHARED, COW */
	};
	uint16_t tag; /* NEW, CANDIDATE: hash bits 32..47; SHARED: position */
	uint8_t state : 4;
	uint8_t flags : 4;
	uint8_t history : 4; /* how often it broke soon after merging, 0..6 */
	uint8_t vain : 4;    /* times it was written while a candidate, since
			      * it last merged, 0..4 */
};

_Static_assert(sizeof(struct tf_frame) == 12, "a frame entry is 12 bytes");

struct tf_region;
struct tf_engine;

struct tf_block {
	struct tf_region *region;
	uint32_t id; /* block part of a frame reference */
	uint32_t no; /* 2 MiB block number within the region */
	uint32_t nshared;
	uint16_t nrefused;        /* bits of `refused` */
	uint16_t handed;          /* frames that are KSM's */
	bool ksm;                 /* its private pages are KSM's */
	uint32_t vmas;            /* mappings beyond one, estimated */
	bool armed;               /* registered MISSING|WP for good */
	bool foreign;             /* pages broke since it was gathered */
	uint32_t gather_at;       /* pass in which to gather it */
	uint8_t age;              /* quiet passes in a row */
	uint8_t skip;             /* passes not to look at it */
	uint8_t stream;           /* pages broken at once lately */
	uint16_t stream_next;     /* where a sequential writer comes next */
	struct tf_bits pending;   /* NEW frames that wait to be settled */
	struct tf_bits written;   /* what the walker just reported */
	struct tf_bits huge;      /* of those, parts of a huge page */
	struct tf_bits blind;     /* not registered: never fenced */
	struct tf_bits lost_zero; /* lost while it was the zero page */
	struct tf_bits refused;   /* would merge if there were mappings left */
	struct tf_frame frames[TF_BLOCK_PAGES];
};

struct tf_dir {
	struct tf_block *blocks[TF_DIR_BLOCKS];
};

/* A frame reference; 0 is no frame, since block ids start at 1. */
static inline uint32_t tf_ref(const struct tf_block *b, unsigned page)
{
	return b->id << TF_BLOCK_SHIFT | page;
}

struct tf_block *tf_ref_block(const struct tf_engine *e, uint32_t ref);

static inline unsigned tf_ref_page(uint32_t ref)
{
	return ref & (TF_BLOCK_PAGES - 1);
}

static inline struct tf_frame *tf_ref_frame(const struct tf_engine *e,
					    uint32_t ref)
{
	return &tf_ref_block(e, ref)->frames[tf_ref_page(ref)];
}

/* Where the page is mapped. */
char *tf_frame_addr(const struct tf_block *b, unsigned page);

/* Its linear index. */
uint64_t tf_frame_linear(const struct tf_block *b, unsigned page);

/* Room for the directories of a region. -ENOMEM. */
int tf_frames_init(struct tf_region *r);

/* Free every block. The frames must have left every table before. */
void tf_frames_fini(struct tf_region *r);

/* The block with this number, or NULL. */
struct tf_block *tf_block_find(const struct tf_region *r, uint32_t no);

/* The block with this number, allocated if need be. NULL: no memory. */
struct tf_block *tf_block_make(struct tf_region *r, uint32_t no);

/* The first block numbered >= `no`, or NULL; holes are skipped by the GiB. */
struct tf_block *tf_block_next(const struct tf_region *r, uint64_t no);

/*
 * Make the entry equal to that of a frame just seen, whatever it was, and let
 * it wait a pass. The caller has taken the frame out of the candidate table
 * or its dup. Caller holds the engine's lock.
 */
void tf_frame_reset(struct tf_block *b, unsigned page);

/* The same for a frame whose page is gone: nothing waits. */
void tf_frame_forget(struct tf_block *b, unsigned page);

/* Let a NEW frame wait to be settled, or not. Caller holds the lock. */
void tf_frame_pend(struct tf_block *b, unsigned page, bool on);

/* A frame that would merge if there were mappings left, or not any more. It
 * does not wait meanwhile. Caller holds the lock. */
void tf_frame_refuse(struct tf_block *b, unsigned page, bool on);

/* Bytes of the frame tables of one region. */
size_t tf_frames_bytes(const struct tf_region *r);

#endif
