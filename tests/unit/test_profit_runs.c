/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs, by tables alone: dups and candidates are made by hand, nothing is
 * mapped. A content is named by its hash.
 */
#include "engine/profit.h"

#include "engine/candidates.h"
#include "engine/chain.h"
#include "engine/region.h"
#include "lib/unit_world.h"

/* Where the dups and candidates lie; runs are asked for in block 0. */
#define TABLE 1u

struct table {
	struct unit u;
	struct tf_engine *e;
	struct tf_store *s;
	struct tf_block *b, *other;
	struct tf_bits look;
	uint64_t hash[TF_BLOCK_PAGES];
	unsigned used; /* pages of `other` */
};

/* Opens a world and leaves its lock held. */
static void table_open(struct table *t)
{
	struct tf_guest *g;

	*t = (struct table){ 0 };
	unit_init(&t->u);
	unit_open(&t->u);
	t->e = t->u.e;
	g = unit_guest(&t->u, NULL);
	unit_slot(g, 0, 0, unit_ram(&t->u, 2 * TF_BLOCK_BYTES),
		  2 * TF_BLOCK_BYTES);
	t->s = t->e->regions[0]->store;
	pthread_mutex_lock(&t->e->lock);
	t->b = tf_block_make(t->e->regions[0], 0);
	t->other = tf_block_make(t->e->regions[0], TABLE);
}

static void forget(struct table *t, struct tf_block *b, unsigned page)
{
	if (b->frames[page].state == TF_FRAME_SHARED)
		tf_dup_unlink(t->e, b, page, false);
	if (b->frames[page].state == TF_FRAME_CANDIDATE)
		tf_candidate_remove(b, page);
	tf_frame_forget(b, page);
}

static void table_close(struct table *t)
{
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++) {
		forget(t, t->b, i);
		forget(t, t->other, i);
	}
	assert_int_equal(t->e->n.dups + t->e->n.candidates, 0);
	pthread_mutex_unlock(&t->e->lock);
	unit_close(&t->u);
}

static void link_page(struct table *t, uint32_t dup, struct tf_block *b,
		      unsigned page)
{
	assert_int_equal(tf_dup_reserve(t->e, dup), 0);
	tf_frame_reset(b, page);
	tf_frame_pend(b, page, false);
	tf_dup_link(t->e, dup, b, page);
}

/* Contents [hash, hash + n) become stable, in slots one after the other. */
static void make_dups(struct table *t, uint64_t hash, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t slot, id;

		assert_int_equal(tf_slot_alloc(t->s, &slot), 0);
		assert_int_equal(tf_dup_create(t->s, hash + i, slot, &id), 0);
		link_page(t, id, t->other, t->used++);
	}
}

/* Contents [hash, hash + n) are candidates, one beside the other. */
static void make_candidates(struct table *t, uint64_t hash, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		tf_frame_reset(t->other, t->used);
		assert_int_equal(
			tf_candidate_add(t->other, t->used++, hash + i), 0);
	}
}

/* Pages [page, page + n) were hashed: contents [hash, hash + n). */
static void look_at(struct table *t, unsigned page, uint64_t hash, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		t->hash[page + i] = hash + i;
		tf_bit_set(&t->look, page + i);
	}
}

static unsigned run_pages(const struct table *t, unsigned page)
{
	return tf_run_at(t->b, page, &t->look, t->hash, TF_BLOCK_PAGES).pages;
}

static bool run_joins(const struct table *t, unsigned page)
{
	return tf_run_at(t->b, page, &t->look, t->hash, TF_BLOCK_PAGES).joins;
}

static void a_new_content_is_a_run_of_one(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	look_at(&t, 3, 1000, 4); /* no table knows any of them */
	assert_int_equal(run_pages(&t, 3), 1);
	assert_false(run_joins(&t, 3));
	make_dups(&t, 1000, 1);
	assert_int_equal(run_pages(&t, 3), 1);
	make_candidates(&t, 1003, 1);
	assert_int_equal(run_pages(&t, 5), 1);
	table_close(&t);
}

static void neighbouring_slots_are_a_run(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_dups(&t, 1000, 9);
	look_at(&t, 20, 1000, 9);
	assert_int_equal(run_pages(&t, 20), 9);
	assert_int_equal(run_pages(&t, 25), 4); /* what is left of it */
	assert_int_equal(run_pages(&t, 28), 1);
	table_close(&t);
}

static void a_slot_elsewhere_ends_a_run(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_dups(&t, 1000, 4);
	make_dups(&t, 5000, 1);
	make_dups(&t, 1004, 4);
	look_at(&t, 0, 1000, 8);
	assert_int_equal(run_pages(&t, 0), 4);
	assert_int_equal(run_pages(&t, 4), 4);
	t.hash[2] = 1001; /* the same content twice */
	assert_int_equal(run_pages(&t, 0), 2);
	t.hash[1] = 1003; /* downwards */
	t.hash[2] = 1002;
	assert_int_equal(run_pages(&t, 1), 1);
	table_close(&t);
}

static void neighbouring_candidates_are_a_run(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_candidates(&t, 1000, 6);
	t.used++;
	make_candidates(&t, 1006, 3);
	look_at(&t, 7, 1000, 9);
	assert_int_equal(run_pages(&t, 7), 6); /* up to the gap */
	assert_int_equal(run_pages(&t, 13), 3);
	assert_false(run_joins(&t, 7));
	look_at(&t, 40, 1001, 1);
	look_at(&t, 41, 1000, 1);
	assert_int_equal(run_pages(&t, 40), 1); /* downwards */
	table_close(&t);
}

/* A stable page and one that is to become stable do not get one mapping. */
static void dups_and_candidates_do_not_mix(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_dups(&t, 1000, 3);
	make_candidates(&t, 1003, 3);
	look_at(&t, 0, 1000, 6);
	assert_int_equal(run_pages(&t, 0), 3);
	assert_int_equal(run_pages(&t, 3), 3);
	look_at(&t, 10, 1005, 1);
	look_at(&t, 11, 1000, 1);
	assert_int_equal(run_pages(&t, 10), 1);
	table_close(&t);
}

static void a_page_not_looked_at_ends_a_run(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_dups(&t, 1000, 8);
	look_at(&t, 60, 1000, 8);
	tf_bit_clear(&t.look, 65); /* the hash is still there */
	assert_int_equal(run_pages(&t, 60), 5);
	assert_int_equal(run_pages(&t, 66), 2);
	table_close(&t);
}

static void a_run_ends_with_its_block(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_dups(&t, 1000, 8);
	look_at(&t, TF_BLOCK_PAGES - 4, 1000, 4);
	assert_int_equal(run_pages(&t, TF_BLOCK_PAGES - 4), 4);
	assert_int_equal(run_pages(&t, TF_BLOCK_PAGES - 1), 1);
	table_close(&t);
}

static void no_more_pages_are_looked_at_than_asked(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_dups(&t, 1000, 8);
	look_at(&t, 0, 1000, 8);
	for (unsigned most = 1; most <= 9; most++)
		assert_int_equal(tf_run_at(t.b, 0, &t.look, t.hash, most).pages,
				 most < 8 ? most : 8);
	table_close(&t);
}

static void a_run_joins_the_merged_one_before_it(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_dups(&t, 1000, 6);
	look_at(&t, 10, 1001, 5);
	assert_false(run_joins(&t, 10));
	link_page(&t, tf_chain_find(t.s, 1000), t.b, 9);
	assert_true(run_joins(&t, 10));
	assert_int_equal(run_pages(&t, 10), 5);
	assert_false(run_joins(&t, 11)); /* page 10 is not merged */
	forget(&t, t.b, 9);
	assert_false(run_joins(&t, 10));
	table_close(&t);
}

static void only_the_slot_before_is_joined(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	make_dups(&t, 1000, 4);
	make_candidates(&t, 2000, 2);
	link_page(&t, tf_chain_find(t.s, 1000), t.b, 9);
	look_at(&t, 10, 1002, 1); /* leaves one slot out */
	assert_false(run_joins(&t, 10));
	look_at(&t, 10, 1000, 1); /* the same slot again */
	assert_false(run_joins(&t, 10));
	look_at(&t, 10, 2000, 1); /* not stable yet */
	assert_false(run_joins(&t, 10));
	look_at(&t, 0, 1001, 1); /* no page before it in its block */
	assert_false(run_joins(&t, 0));
	table_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_content_is_a_run_of_one),
		cmocka_unit_test(neighbouring_slots_are_a_run),
		cmocka_unit_test(a_slot_elsewhere_ends_a_run),
		cmocka_unit_test(neighbouring_candidates_are_a_run),
		cmocka_unit_test(dups_and_candidates_do_not_mix),
		cmocka_unit_test(a_page_not_looked_at_ends_a_run),
		cmocka_unit_test(a_run_ends_with_its_block),
		cmocka_unit_test(no_more_pages_are_looked_at_than_asked),
		cmocka_unit_test(a_run_joins_the_merged_one_before_it),
		cmocka_unit_test(only_the_slot_before_is_joined),
	};

	return unit_run(tests);
}
