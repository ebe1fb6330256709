/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU does to guest RAM, in words of blocks. A change of attributes or
 * mappings takes the block from the engine first, which makes its pages private
 * again; the block comes back when it is quiet. The blocks' lock is held over
 * QEMU's own call, so that the engine never reads attributes half way.
 */
#include <errno.h>

#include "vmm/qemu/preload.h"

#define PAGE_ROUND(n) (((n) + TF_PAGE_SIZE - 1) & ~(size_t)(TF_PAGE_SIZE - 1))

bool tq_change_begin(const void *addr, size_t len)
{
	if (!tq_blocks_enter(addr, len))
		return false;
	for (unsigned i = 0; i < tq_blocks_count(); i++) {
		struct tq_block *b = tq_block_get(i);

		if (!tq_block_touches(b, addr, len))
			continue;
		/* What was refused for good stays so; other changes may mend
		 * what the engine did not like. */
		if (b->state != TQ_BLOCK_REFUSED || b->retry_ns)
			tq_block_detach(b);
	}
	return true;
}

void tq_change_end(bool begun)
{
	if (begun)
		tq_blocks_leave();
}

static bool covers(const void *addr, size_t len, const struct tq_block *b)
{
	return (const char *)addr <= b->start &&
	       len >= (size_t)(b->start - (const char *)addr) + b->bytes;
}

void tq_change_unmap(const void *addr, size_t len)
{
	if (!tq_blocks_enter(addr, len))
		return;
	for (unsigned i = 0; i < tq_blocks_count(); i++) {
		struct tq_block *b = tq_block_get(i);

		if (!tq_block_touches(b, addr, len))
			continue;
		/* No copies of what is thrown away. */
		if (covers(addr, len, b) && b->state == TQ_BLOCK_MERGING)
			tf_guest_discard(tq_life()->guest, b->gpa, b->bytes);
		tq_block_detach(b);
		if (covers(addr, len, b))
			b->state = TQ_BLOCK_NONE;
		else
			tq_block_refuse(b, 0, "QEMU unmapped a part of it");
	}
	tq_blocks_leave();
}

/* Wholly inside a block that merges: the engine's; else it is given back. */
static bool discard_in(struct tq_block *b, const char *addr, size_t len)
{
	uint64_t gpa = b->gpa + (uint64_t)(addr - b->start);

	if (b->state != TQ_BLOCK_MERGING)
		return false;
	if (addr >= b->start && addr + len <= b->start + b->bytes &&
	    !tf_guest_discard(tq_life()->guest, gpa, len))
		return true;
	tq_block_detach(b);
	return false;
}

bool tq_change_discard(void *addr, size_t len)
{
	bool done = false;
	size_t whole = PAGE_ROUND(len);

	if ((uintptr_t)addr % TF_PAGE_SIZE || !whole ||
	    !tq_blocks_enter(addr, whole))
		return false;
	for (unsigned i = 0; i < tq_blocks_count(); i++)
		if (tq_block_touches(tq_block_get(i), addr, whole))
			done |= discard_in(tq_block_get(i), addr, whole);
	tq_blocks_leave();
	return done;
}

void tq_change_refuse(const void *addr, size_t len, unsigned ms,
		      const char *why)
{
	if (!tq_blocks_enter(addr, len))
		return;
	for (unsigned i = 0; i < tq_blocks_count(); i++)
		if (tq_block_touches(tq_block_get(i), addr, len))
			tq_block_refuse(tq_block_get(i), ms, why);
	tq_blocks_leave();
}
