/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages of a storm, their shadows and locks. */
#include "lib/storm.h"

#include <string.h>

#include "engine/chain.h"
#include "engine/state.h"

#define CONTENTS 16u /* with many copies */

char *storm_page(const struct storm *s, unsigned page)
{
	return s->world.ram + page * TF_PAGE;
}

char *storm_shadow(const struct storm *s, unsigned page)
{
	return s->shadow + page * TF_PAGE;
}

void storm_lock(struct storm *s, unsigned page, unsigned n, unsigned step)
{
	for (unsigned i = 0; i < n; i++)
		pthread_mutex_lock(&s->lock[page + i * step]);
}

void storm_unlock(struct storm *s, unsigned page, unsigned n, unsigned step)
{
	for (unsigned i = 0; i < n; i++)
		pthread_mutex_unlock(&s->lock[page + i * step]);
}

static void make_content(char *page, uint64_t no)
{
	for (unsigned i = 0; i < STORM_WORDS; i++)
		((uint64_t *)page)[i] =
			no ? no * UINT64_C(0x9e3779b97f4a7c15) + i : 0;
}

void storm_fill(struct storm *s, unsigned page)
{
	uint64_t no = page % CONTENTS + 1;

	if (page >= STORM_LONE_AT)
		no = 1000 + page % STORM_LONE_GROUPS;
	else if (page >= STORM_UNIQUE_AT)
		no = 1000000 +
		     atomic_fetch_add_explicit((_Atomic uint64_t *)&s->fresh, 1,
					       memory_order_relaxed);
	else if (page >= STORM_ZERO_AT)
		no = 0;
	make_content(storm_shadow(s, page), no);
	memcpy(storm_page(s, page), storm_shadow(s, page), TF_PAGE);
}

static bool is_right(const struct storm *s, unsigned page)
{
	return memcmp(storm_page(s, page), storm_shadow(s, page), TF_PAGE) == 0;
}

void storm_verify(const struct storm *s, unsigned page, const char *who)
{
	const uint64_t *is = (uint64_t *)storm_page(s, page);

	if (!is_right(s, page))
		test_fail("%s: page %u has wrong bytes (%#llx, to be %#llx), "
			  "now %s",
			  who, page, (unsigned long long)is[0],
			  *(unsigned long long *)storm_shadow(s, page),
			  is_right(s, page) ? "right" : "wrong still");
}

struct storm_look storm_look(const struct storm *s, unsigned page)
{
	struct tf_engine *e = s->world.engine;
	char *addr = storm_page(s, page);
	struct storm_look l = { 0 };
	struct tf_region *r;
	struct tf_block *b;

	pthread_mutex_lock(&e->lock);
	r = tf_region_at(e, addr);
	b = tf_block_find(r, tf_region_block_of(r, addr));
	if (b) {
		const struct tf_frame *f =
			&b->frames[tf_region_page_of(r, addr)];
		uint32_t dup = f->shared.dup;

		l.state = f->state;
		if (l.state == TF_FRAME_SHARED)
			for (uint32_t id = tf_dup_get(e, dup)->next; id != dup;
			     id = tf_dup_get(e, id)->next)
				l.twins += !tf_dup_get(e, id)->bad;
	}
	pthread_mutex_unlock(&e->lock);
	return l;
}
