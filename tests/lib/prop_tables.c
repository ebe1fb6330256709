/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the engine's tables under its lock, and /proc beside them. */
#include "tests/lib/prop_tables.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/chain.h"
#include "engine/state.h"
#include "tests/lib/prop.h"

/* The frame at `addr`, or NULL. Caller holds the lock. */
static const struct tf_frame *frame_at(const struct tf_engine *e,
				       const char *addr)
{
	const struct tf_region *r = tf_region_at(e, addr);
	const struct tf_block *b =
		r ? tf_block_find(r, tf_region_block_of(r, addr)) : NULL;

	return b ? &b->frames[tf_region_page_of(r, addr)] : NULL;
}

static bool spans_slot(const struct tf_frame *f)
{
	return f && (f->state == TF_FRAME_SHARED || f->state == TF_FRAME_COW);
}

/* One mapping of a store. Returns how many of its pages lie in memslots. */
static size_t check_mapping(struct tf_engine *e, uintptr_t start, uintptr_t end,
			    unsigned long off)
{
	size_t pages = 0;

	for (uintptr_t at = start; at < end; at += TF_PAGE, off += TF_PAGE) {
		const char *addr = (const char *)at;
		const struct tf_frame *f = frame_at(e, addr);

		if (!tf_region_at(e, addr))
			continue;
		pages++;
		if (!spans_slot(f))
			prop_fail("%p is a slot's mapping, its state is %d",
				  (const void *)addr, f ? f->state : -1);
		if (tf_dup_get(e, f->shared.dup)->slot != off / TF_PAGE)
			prop_fail("%p: mapped to slot %lu, not to %u",
				  (const void *)addr, off / TF_PAGE,
				  tf_dup_get(e, f->shared.dup)->slot);
	}
	return pages;
}

struct mapping {
	unsigned long start, end, off;
};

/* The next writable mapping of a store; false: no more. */
static bool next_mapping(FILE *maps, struct mapping *m)
{
	char line[512], perms[8];

	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "twinfold-store") &&
		    sscanf(line, "%lx-%lx %7s %lx", &m->start, &m->end, perms,
			   &m->off) == 4 &&
		    perms[1] == 'w')
			return true;
	return false;
}

static FILE *maps_open(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");

	if (!maps)
		prop_fail("cannot read /proc/self/maps");
	return maps;
}

void prop_check_tables(struct tf_engine *e)
{
	FILE *maps = maps_open();
	struct mapping m;
	size_t pages = 0;
	TF_LOCKED(&e->lock);

	while (next_mapping(maps, &m))
		pages += check_mapping(e, m.start, m.end, m.off);
	fclose(maps);
	PROP_EXPECT(pages == e->n.sharers + e->n.cow,
		    "%zu frames are mapped to slots, the tables say %llu",
		    pages, (unsigned long long)(e->n.sharers + e->n.cow));
}

bool prop_maps_store(const char *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr;
	FILE *maps = maps_open();
	struct mapping m;
	bool found = false;

	while (!found && next_mapping(maps, &m))
		found = m.start < start + len && start < m.end;
	fclose(maps);
	return found;
}

enum tf_frame_state prop_frame_state(struct tf_engine *e, const char *addr)
{
	const struct tf_frame *f;
	TF_LOCKED(&e->lock);

	f = frame_at(e, addr);
	return f ? (enum tf_frame_state)f->state : TF_FRAME_NONE;
}

bool prop_frame_pending(struct tf_engine *e, const char *addr)
{
	const struct tf_region *r;
	const struct tf_block *b;
	TF_LOCKED(&e->lock);

	r = tf_region_at(e, addr);
	b = r ? tf_block_find(r, tf_region_block_of(r, addr)) : NULL;
	return b && tf_bit(&b->pending, tf_region_page_of(r, addr));
}
