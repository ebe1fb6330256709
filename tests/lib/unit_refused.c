/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Refused frames: made, found and counted. Takes the engine's lock. */
#include "lib/unit_refused.h"

bool refused_at(struct unit *u, const char *addr)
{
	struct unit_spot s = unit_spot(u, addr);

	return s.b && tf_bit(&s.b->refused, s.page);
}

/* Refused frames of one block, each in a state that it may have. */
static unsigned check_block(const struct tf_block *b)
{
	unsigned n = 0;

	tf_bits_for_each(i, &b->refused) {
		assert_false(tf_bit(&b->pending, i));
		assert_true(b->frames[i].state == TF_FRAME_NEW ||
			    b->frames[i].state == TF_FRAME_CANDIDATE);
		n++;
	}
	assert_int_equal(b->nrefused, n);
	return n;
}

uint64_t refused_count(struct unit *u)
{
	uint64_t sum = 0;

	unit_check(u);
	pthread_mutex_lock(&u->e->lock);
	for (size_t i = 0; i < u->e->nregions; i++) {
		const struct tf_block *b;

		for (uint64_t no = 0; (b = tf_block_next(u->e->regions[i], no));
		     no = b->no + 1)
			sum += check_block(b);
	}
	pthread_mutex_unlock(&u->e->lock);
	assert_int_equal(unit_stats(u).pages_refused, sum);
	return sum;
}

void refused_open(struct unit *u, size_t budget)
{
	unit_init(u);
	u->opts.vma_budget = budget;
	u->opts.smart_scan = 0;
	u->opts.bridge_gaps = 0; /* each page has its mappings to pay for */
	unit_open(u);
}

struct tf_guest *refused_seven(struct unit *u, char **ram)
{
	static const unsigned content[] = { 1, 2, 3, 3, 2, 1, 1, 9, 8, 7 };
	struct tf_guest *g = unit_guest(u, NULL);

	*ram = unit_ram(u, TF_BLOCK_BYTES);
	unit_slot(g, 0, 0, *ram, TF_BLOCK_BYTES);
	for (unsigned i = 0; i < 10; i++)
		unit_fill(*ram + i * TF_PAGE, content[i]);
	unit_passes(u, 2);
	return g;
}
