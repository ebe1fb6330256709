/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The candidate table: found by hash, removed from any place, and growing. */
#include "engine/candidates.h"

#include "engine/hash.h"
#include "engine/region.h"
#include "lib/unit_world.h"

struct table {
	struct unit u;
	struct tf_store *s;
	struct tf_region *r;
};

/* Opens a world and leaves its lock held. */
static void table_open(struct table *t)
{
	struct tf_guest *g;

	unit_init(&t->u);
	unit_open(&t->u);
	g = unit_guest(&t->u, NULL);
	unit_slot(g, 0, 0, unit_ram(&t->u, 4 * TF_BLOCK_BYTES),
		  4 * TF_BLOCK_BYTES);
	t->r = t->u.e->regions[0];
	t->s = t->r->store;
	pthread_mutex_lock(&t->u.e->lock);
}

static void table_close(struct table *t)
{
	pthread_mutex_unlock(&t->u.e->lock);
	unit_close(&t->u);
}

static uint32_t add(struct table *t, unsigned i, uint64_t hash)
{
	struct tf_block *b = tf_block_make(t->r, i / TF_BLOCK_PAGES);
	unsigned page = i % TF_BLOCK_PAGES;

	tf_frame_reset(b, page);
	assert_int_equal(tf_candidate_add(b, page, hash), 0);
	assert_false(tf_bit(&b->pending, page));
	return tf_ref(b, page);
}

static void drop(struct table *t, uint32_t ref)
{
	struct tf_block *b = tf_ref_block(t->u.e, ref);

	tf_candidate_remove(b, tf_ref_page(ref));
	tf_frame_forget(b, tf_ref_page(ref));
}

static void an_empty_table_proposes_nothing(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	assert_int_equal(tf_candidate_find(t.s, 0), 0);
	assert_int_equal(tf_candidate_find(t.s, 12345), 0);
	table_close(&t);
}

static void forty_eight_bits_must_agree(void **state)
{
	const uint64_t h = UINT64_C(0x1111222233334444);
	struct table t;
	uint32_t ref;

	(void)state;
	table_open(&t);
	ref = add(&t, 3, h);
	assert_int_equal(tf_candidate_find(t.s, h), ref);
	assert_int_equal(tf_candidate_find(t.s, h ^ UINT64_C(1) << 60), ref);
	assert_int_equal(tf_candidate_find(t.s, h ^ UINT64_C(1) << 40), 0);
	assert_int_equal(tf_candidate_find(t.s, h ^ UINT64_C(1) << 20), 0);
	drop(&t, ref);
	assert_int_equal(tf_candidate_find(t.s, h), 0);
	table_close(&t);
}

static void a_bucket_loses_any_of_its_frames(void **state)
{
	uint32_t ref[3];
	struct table t;

	(void)state;
	table_open(&t);
	for (unsigned i = 0; i < 3; i++) /* one bucket: low bits agree */
		ref[i] = add(&t, i, 7 + ((uint64_t)i << 32));
	drop(&t, ref[1]);
	assert_int_equal(tf_candidate_find(t.s, 7), ref[0]);
	assert_int_equal(tf_candidate_find(t.s, 7 + (UINT64_C(1) << 32)), 0);
	assert_int_equal(tf_candidate_find(t.s, 7 + (UINT64_C(2) << 32)),
			 ref[2]);
	drop(&t, ref[2]);
	drop(&t, ref[0]);
	assert_int_equal(t.u.e->n.candidates, 0);
	assert_int_equal(t.s->candidates.count, 0);
	table_close(&t);
}

static void growing_loses_nobody(void **state)
{
	const unsigned n = 4 * TF_BLOCK_PAGES;
	struct table t;

	(void)state;
	table_open(&t);
	for (unsigned i = 0; i < n; i++)
		add(&t, i, i * UINT64_C(0x9e3779b97f4a7c15));
	assert_true(t.s->candidates.mask > 255);
	for (unsigned i = 0; i < n; i++) {
		uint64_t h = i * UINT64_C(0x9e3779b97f4a7c15);
		uint32_t ref = tf_candidate_find(t.s, h);

		assert_int_not_equal(ref, 0);
		assert_true(tf_frame_has_hash(tf_ref_frame(t.u.e, ref), h));
	}
	assert_int_equal(t.u.e->n.candidates, n);
	table_close(&t);
}

/* Hints for hashes that are there, are not there, and for no table at all:
 * nothing changes, and no step goes beyond the end of a bucket. */
static void hints_change_nothing(void **state)
{
	uint32_t ref[3];
	struct table t;

	(void)state;
	table_open(&t);
	for (unsigned step = 0; step <= TF_CANDIDATE_STEPS; step++)
		tf_candidate_prefetch(t.s, 7, step);
	assert_null(t.s->candidates.head);
	for (unsigned i = 0; i < 3; i++) {
		ref[i] = add(&t, i, 7 + ((uint64_t)i << 32));
		for (unsigned step = 0; step <= TF_CANDIDATE_STEPS; step++) {
			tf_candidate_prefetch(t.s, 7, step);
			tf_candidate_prefetch(t.s, 8, step);
		}
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(tf_candidate_find(t.s,
						   7 + ((uint64_t)i << 32)),
				 ref[i]);
		drop(&t, ref[i]);
	}
	table_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_table_proposes_nothing),
		cmocka_unit_test(forty_eight_bits_must_agree),
		cmocka_unit_test(a_bucket_loses_any_of_its_frames),
		cmocka_unit_test(growing_loses_nobody),
		cmocka_unit_test(hints_change_nothing),
	};

	return unit_run(tests);
}
