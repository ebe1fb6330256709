/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs and profit. Most cases use tables alone: dups and candidates are made
 * by hand, nothing is mapped. A content is named by its hash.
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

/* A page of a run of so many: does merging it pay? */
static bool pays(unsigned pages, bool joins, unsigned history, unsigned waited)
{
	const struct tf_run run = { .pages = pages, .joins = joins };
	const struct tf_frame f = {
		.state = TF_FRAME_NEW,
		.fresh.looks = waited,
		.history = (uint8_t)history,
	};

	return tf_profit_pays(&run, &f);
}

static void pages_without_a_history_pay_at_once(void **state)
{
	(void)state;
	assert_true(pays(1, false, 0, 0));
	assert_true(pays(1, true, 0, 0));
	assert_true(pays(512, false, 0, 0));
}

/* Nobody knows yet whether the writer is done. */
static void a_page_that_broke_does_not_pay_at_once(void **state)
{
	(void)state;
	assert_false(pays(1, false, 1, 0));
	assert_false(pays(1, true, 1, 0));
	assert_false(pays(512, false, 1, 0));
	assert_false(pays(512, true, 6, 0));
}

/* The mappings of a lone page are worth more than one quiet pass. */
static void a_lone_page_that_broke_waits_longer(void **state)
{
	(void)state;
	assert_false(pays(1, false, 1, 1));
	assert_true(pays(1, false, 1, 2));
	assert_true(pays(1, true, 1, 1));
	assert_true(pays(16, false, 1, 1));
}

/* Waiting longer, or a longer run, never makes a merge worth less. */
static void profit_grows_with_waiting_and_with_the_run(void **state)
{
	(void)state;
	for (unsigned pages = 1; pages <= 64; pages++)
		for (unsigned waited = 0; waited <= 64; waited++) {
			if (!pays(pages, false, 1, waited))
				continue;
			assert_true(pays(pages, false, 1, waited + 1));
			assert_true(pays(pages + 1, false, 1, waited));
			assert_true(pays(pages, true, 1, waited));
		}
	assert_true(pays(1, false, 6, 64));
}

static bool bridge_pays(uint32_t made, uint32_t broke, unsigned gap)
{
	const struct tf_bridges past = { .made = made, .broke = broke };

	return tf_profit_bridge(&past, gap);
}

static void small_gaps_pay(void **state)
{
	(void)state;
	assert_true(bridge_pays(0, 0, 1));
	assert_true(bridge_pays(0, 0, 2));
	assert_false(bridge_pays(0, 0, 8)); /* two mappings are not worth it */
	assert_false(bridge_pays(1u << 31, 0, 8));
}

/* One break of 80 us takes back what many bridges saved. */
static void bridges_that_break_do_not_pay(void **state)
{
	(void)state;
	assert_true(bridge_pays(100000, 1000, 1));
	assert_false(bridge_pays(100000, 5000, 1));
	assert_false(bridge_pays(10, 10, 1));
	assert_false(bridge_pays(UINT32_MAX, UINT32_MAX, 1));
}

/* A longer gap never pays where a shorter one does not, nor does a gap of a
 * guest that broke more of its bridges. */
static void bridges_pay_less_the_more_they_cost(void **state)
{
	(void)state;
	for (uint32_t made = 0; made < 100000; made = 2 * made + 1)
		for (uint32_t broke = 0; broke <= made; broke = 2 * broke + 1)
			for (unsigned gap = 1; gap < 10; gap++) {
				if (bridge_pays(made, broke, gap))
					continue;
				assert_false(bridge_pays(made, broke, gap + 1));
				assert_false(bridge_pays(made, broke + 1, gap));
			}
}

/* Passes until the page, broken and quiet since, is merged again. */
static unsigned passes_to_merge(struct unit *u, char *page, uint64_t content)
{
	unsigned n = 0;

	assert_int_equal(unit_state(u, page), TF_FRAME_SHARED);
	unit_fill(page, content);
	assert_int_equal(unit_spot(u, page).was.history, 1);
	while (unit_state(u, page) != TF_FRAME_SHARED) {
		unit_pass(u);
		assert_true(++n < 20);
	}
	unit_assert_page(page, content);
	return n;
}

static void lone_pages_are_merged_again_later_than_runs(void **state)
{
	const unsigned n = 64;
	unsigned in_run, alone;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, 3 * n, &ram);
	unit_fill_run(ram, n, 1);
	unit_fill_run(ram + n * TF_PAGE, n, 1);
	unit_fill_run(ram + 2 * n * TF_PAGE, n, 1000);
	unit_fill(ram + (2 * n + 20) * TF_PAGE, 50);
	unit_passes(&u, 2);
	in_run = passes_to_merge(&u, ram + (n + 30) * TF_PAGE, 31);
	alone = passes_to_merge(&u, ram + (2 * n + 20) * TF_PAGE, 50);
	assert_true(in_run > 2); /* the history counts for it, too */
	assert_int_equal(alone, in_run + 1);
	unit_close(&u);
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
		cmocka_unit_test(pages_without_a_history_pay_at_once),
		cmocka_unit_test(a_page_that_broke_does_not_pay_at_once),
		cmocka_unit_test(a_lone_page_that_broke_waits_longer),
		cmocka_unit_test(profit_grows_with_waiting_and_with_the_run),
		cmocka_unit_test(small_gaps_pay),
		cmocka_unit_test(bridges_that_break_do_not_pay),
		cmocka_unit_test(bridges_pay_less_the_more_they_cost),
		cmocka_unit_test(lone_pages_are_merged_again_later_than_runs),
	};

	return unit_run(tests);
}
