/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The frame table. Owns blocks and directories; knows nothing of candidates
 * and dups. All changes are made under the engine's lock; lookups by address
 * read published pointers only.
 */
#include "engine/frame.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/state.h"

struct tf_block *tf_ref_block(const struct tf_engine *e, uint32_t ref)
{
	return *(struct tf_block **)tf_idtable_get(&e->blocks,
						   ref >> TF_BLOCK_SHIFT);
}

char *tf_frame_addr(const struct tf_block *b, unsigned page)
{
	return b->region->origin + b->no * TF_BLOCK_BYTES + page * TF_PAGE;
}

uint64_t tf_frame_linear(const struct tf_block *b, unsigned page)
{
	return b->region->linear + ((uint64_t)b->no << TF_BLOCK_SHIFT) + page;
}

int tf_frames_init(struct tf_region *r)
{
	r->ndirs = (tf_region_blocks(r) + TF_DIR_BLOCKS - 1) / TF_DIR_BLOCKS;
	r->dirs = calloc(r->ndirs, sizeof(*r->dirs));
	return r->dirs ? 0 : -ENOMEM;
}

/* Signal handlers look at the table. */
static void block_publish(struct tf_engine *e, uint32_t id, struct tf_block *b)
{
	__atomic_store_n((struct tf_block **)tf_idtable_get(&e->blocks, id), b,
			 __ATOMIC_RELEASE);
}

static void block_free(struct tf_block *b)
{
	struct tf_engine *e = b->region->engine;

	tf_bits_for_each(i, &b->pending)
		tf_frame_pend(b, i, false);
	e->n.refused -= b->nrefused;
	e->n.handed -= b->handed;
	e->n.vmas -= b->vmas;
	block_publish(e, b->id, NULL);
	tf_idtable_free(&e->blocks, b->id);
	free(b);
}

void tf_frames_fini(struct tf_region *r)
{
	for (uint32_t d = 0; r->dirs && d < r->ndirs; d++) {
		if (!r->dirs[d])
			continue;
		for (unsigned i = 0; i < TF_DIR_BLOCKS; i++)
			if (r->dirs[d]->blocks[i])
				block_free(r->dirs[d]->blocks[i]);
		free(r->dirs[d]);
	}
	free(r->dirs);
	r->dirs = NULL;
	r->ndirs = 0;
	r->nblocks = 0;
}

struct tf_block *tf_block_find(const struct tf_region *r, uint32_t no)
{
	struct tf_dir *dir =
		__atomic_load_n(&r->dirs[no / TF_DIR_BLOCKS], __ATOMIC_ACQUIRE);

	if (!dir)
		return NULL;
	return __atomic_load_n(&dir->blocks[no % TF_DIR_BLOCKS],
			       __ATOMIC_ACQUIRE);
}

static struct tf_dir *dir_make(struct tf_region *r, uint32_t d)
{
	struct tf_dir *dir = r->dirs[d];

	if (dir)
		return dir;
	dir = calloc(1, sizeof(*dir));
	if (dir)
		__atomic_store_n(&r->dirs[d], dir, __ATOMIC_RELEASE);
	return dir;
}

static struct tf_block *block_new(struct tf_region *r, uint32_t no)
{
	struct tf_engine *e = r->engine;
	struct tf_block *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	if (tf_idtable_alloc(&e->blocks, &b->id)) {
		free(b);
		return NULL;
	}
	block_publish(e, b->id, b);
	b->region = r;
	b->no = no;
	return b;
}

struct tf_block *tf_block_make(struct tf_region *r, uint32_t no)
{
	struct tf_dir *dir = dir_make(r, no / TF_DIR_BLOCKS);
	struct tf_block *b;

	if (!dir)
		return NULL;
	b = dir->blocks[no % TF_DIR_BLOCKS];
	if (b)
		return b;
	b = block_new(r, no);
	if (!b)
		return NULL;
	r->nblocks++;
	__atomic_store_n(&dir->blocks[no % TF_DIR_BLOCKS], b, __ATOMIC_RELEASE);
	return b;
}

struct tf_block *tf_block_next(const struct tf_region *r, uint64_t no)
{
	for (uint64_t d = no / TF_DIR_BLOCKS; d < r->ndirs; d++) {
		unsigned from = d == no / TF_DIR_BLOCKS ? no % TF_DIR_BLOCKS :
							  0;

		if (!r->dirs[d])
			continue;
		for (unsigned i = from; i < TF_DIR_BLOCKS; i++)
			if (r->dirs[d]->blocks[i])
				return r->dirs[d]->blocks[i];
	}
	return NULL;
}

void tf_frame_pend(struct tf_block *b, unsigned page, bool on)
{
	struct tf_engine *e = b->region->engine;

	if (tf_bit(&b->pending, page) == on)
		return;
	if (on) {
		tf_bit_set(&b->pending, page);
		e->n.pending++;
	} else {
		tf_bit_clear(&b->pending, page);
		e->n.pending--;
	}
}

void tf_frame_refuse(struct tf_block *b, unsigned page, bool on)
{
	struct tf_engine *e = b->region->engine;

	if (on)
		tf_frame_pend(b, page, false);
	if (tf_bit(&b->refused, page) == on)
		return;
	if (on) {
		tf_bit_set(&b->refused, page);
		b->nrefused++;
		e->n.refused++;
	} else {
		tf_bit_clear(&b->refused, page);
		b->nrefused--;
		e->n.refused--;
	}
}

static void frame_clear(struct tf_block *b, unsigned page,
			enum tf_frame_state state)
{
	struct tf_frame *f = &b->frames[page];
	bool was = f->state != TF_FRAME_NONE;
	bool is = state != TF_FRAME_NONE;

	tf_frame_refuse(b, page, false);
	b->region->seen += (uint64_t)is - (uint64_t)was;
	tf_bit_clear(&b->lost_zero, page);
	f->fresh.hash = 0;
	f->fresh.looks = 0;
	f->tag = 0;
	f->flags &= TF_FRAME_FOREIGN | TF_FRAME_BORDER;
	f->state = state;
}

void tf_frame_reset(struct tf_block *b, unsigned page)
{
	frame_clear(b, page, TF_FRAME_NEW);
	tf_frame_pend(b, page, true);
}

void tf_frame_forget(struct tf_block *b, unsigned page)
{
	frame_clear(b, page, TF_FRAME_NONE);
	tf_frame_pend(b, page, false);
}

size_t tf_frames_bytes(const struct tf_region *r)
{
	size_t bytes = 0;

	for (uint32_t d = 0; d < r->ndirs; d++)
		if (r->dirs[d])
			bytes += sizeof(struct tf_dir);
	return bytes + r->nblocks * sizeof(struct tf_block);
}
