/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dups and chains, as tables alone: nothing is mapped here. Frames are made
 * by hand and unlinked before the engine ends.
 */
#include "engine/chain.h"

#include <errno.h>

#include "engine/region.h"
#include "lib/unit_world.h"

struct chains {
	struct unit u;
	struct tf_engine *e;
	struct tf_store *s;
	struct tf_block *b;
};

/* Opens a world and leaves its lock held. */
static void chains_open(struct chains *c, unsigned max_sharing)
{
	struct tf_guest *g;

	unit_init(&c->u);
	c->u.opts.max_page_sharing = max_sharing;
	unit_open(&c->u);
	c->e = c->u.e;
	g = unit_guest(&c->u, NULL);
	unit_slot(g, 0, 0, unit_ram(&c->u, TF_BLOCK_BYTES), TF_BLOCK_BYTES);
	c->s = c->e->regions[0]->store;
	pthread_mutex_lock(&c->e->lock);
	c->b = tf_block_make(c->e->regions[0], 0);
}

static void check(struct chains *c)
{
	pthread_mutex_unlock(&c->e->lock);
	unit_check(&c->u);
	pthread_mutex_lock(&c->e->lock);
}

static void unlink_page(struct chains *c, unsigned page)
{
	tf_dup_unlink(c->e, c->b, page, false);
	tf_frame_forget(c->b, page);
}

static void chains_close(struct chains *c)
{
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
		if (c->b->frames[i].state == TF_FRAME_SHARED)
			unlink_page(c, i);
	assert_int_equal(c->e->n.dups + c->e->n.chains + c->e->n.used, 0);
	assert_int_equal(c->e->n.kept, 0);
	assert_int_equal(c->e->n.recoverable + c->e->n.sharer_room, 0);
	pthread_mutex_unlock(&c->e->lock);
	unit_close(&c->u);
}

/* Its slot holds zeros. */
static uint32_t new_dup(struct chains *c, uint64_t hash)
{
	uint32_t slot, id;

	assert_int_equal(tf_slot_alloc(c->s, &slot), 0);
	assert_int_equal(tf_os_linux.write_at(&tf_os_linux, c->s->fd,
					      c->e->zero_page, TF_PAGE,
					      (uint64_t)slot * TF_PAGE),
			 TF_PAGE);
	assert_int_equal(tf_dup_create(c->s, hash, slot, &id), 0);
	return id;
}

static void link_page(struct chains *c, uint32_t id, unsigned page)
{
	assert_int_equal(tf_dup_reserve(c->e, id), 0);
	tf_frame_reset(c->b, page);
	tf_frame_pend(c->b, page, false);
	tf_dup_link(c->e, id, c->b, page);
}

static void a_chain_is_found_by_its_hash(void **state)
{
	struct chains c;
	uint32_t id;

	(void)state;
	chains_open(&c, 4);
	assert_int_equal(tf_chain_find(c.s, 1), 0);
	id = new_dup(&c, 1);
	link_page(&c, id, 0);
	assert_int_equal(tf_chain_find(c.s, 1), id);
	assert_int_equal(tf_chain_find(c.s, 257), 0); /* same bucket */
	unlink_page(&c, 0);
	assert_int_equal(tf_chain_find(c.s, 1), 0);
	chains_close(&c);
}

static void the_index_grows_past_its_first_size(void **state)
{
	struct chains c;

	(void)state;
	chains_open(&c, 4);
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++)
		link_page(&c, new_dup(&c, 1000 + i), i);
	for (unsigned i = 0; i < TF_BLOCK_PAGES; i++) {
		uint32_t id = tf_chain_find(c.s, 1000 + i);

		assert_int_equal(c.b->frames[i].shared.dup, id);
	}
	assert_int_equal(c.e->n.chains, TF_BLOCK_PAGES);
	check(&c);
	chains_close(&c);
}

static void the_head_has_room_if_any_dup_has(void **state)
{
	uint32_t a, b, d;
	struct chains c;

	(void)state;
	chains_open(&c, 2);
	a = new_dup(&c, 5);
	link_page(&c, a, 0);
	link_page(&c, a, 1);
	assert_false(tf_dup_has_room(c.e, tf_dup_get(c.e, a)));
	b = new_dup(&c, 5);
	assert_int_equal(tf_chain_find(c.s, 5), b);
	link_page(&c, b, 2);
	link_page(&c, b, 3);
	d = new_dup(&c, 5);
	link_page(&c, d, 4);
	link_page(&c, d, 5);
	check(&c);
	unlink_page(&c, 3); /* a full one gets room: it leads */
	assert_int_equal(tf_chain_find(c.s, 5), b);
	check(&c);
	unlink_page(&c, 0); /* a second one: behind it, before full ones */
	check(&c);
	link_page(&c, tf_chain_find(c.s, 5), 6);
	check(&c);
	assert_true(
		tf_dup_has_room(c.e, tf_dup_get(c.e, tf_chain_find(c.s, 5))));
	chains_close(&c);
}

/* A dup that fills up without being the head must not be found later. */
static void a_full_dup_goes_behind_those_with_room(void **state)
{
	uint32_t head, mid, last;
	struct chains c;

	(void)state;
	chains_open(&c, 2);
	last = new_dup(&c, 5);
	link_page(&c, last, 0);
	mid = new_dup(&c, 5);
	link_page(&c, mid, 1);
	head = new_dup(&c, 5);
	link_page(&c, head, 2);
	check(&c);
	assert_int_equal(tf_chain_find(c.s, 5), head);
	link_page(&c, mid, 3);
	check(&c);
	link_page(&c, head, 4);
	check(&c);
	assert_int_equal(tf_chain_find(c.s, 5), last);
	chains_close(&c);
}

static void counts_are_those_of_ksm(void **state)
{
	struct tf_stats st;
	struct chains c;
	uint32_t a, b;

	(void)state;
	chains_open(&c, 2);
	a = new_dup(&c, c.s->zero_hash); /* what its slot holds */
	link_page(&c, a, 0);
	link_page(&c, a, 1);
	b = new_dup(&c, c.s->zero_hash);
	link_page(&c, b, 2);
	pthread_mutex_unlock(&c.e->lock);
	st = unit_stats(&c.u);
	assert_int_equal(st.pages_shared, 2);
	assert_int_equal(st.pages_sharing, 1);
	assert_int_equal(st.chains, 1);
	assert_int_equal(st.chain_dups, 1);
	assert_int_equal(st.pages_recoverable, 3);
	pthread_mutex_lock(&c.e->lock);
	unlink_page(&c, 2); /* the second dup is empty: pruned */
	assert_int_equal(c.e->n.dups, 1);
	assert_int_equal(c.e->n.recoverable, 0);
	check(&c);
	chains_close(&c);
}

static void places_are_taken_and_given_back(void **state)
{
	struct chains c;
	uint32_t id;

	(void)state;
	chains_open(&c, 2);
	id = new_dup(&c, 5);
	link_page(&c, id, 0);
	assert_int_equal(tf_dup_reserve(c.e, id), 0);
	assert_false(tf_dup_has_room(c.e, tf_dup_get(c.e, id)));
	tf_dup_unreserve(c.e, id);
	assert_true(tf_dup_has_room(c.e, tf_dup_get(c.e, id)));
	unlink_page(&c, 0);
	/* A place kept the dup alive; giving it back frees it. */
	id = new_dup(&c, 6);
	assert_int_equal(tf_dup_reserve(c.e, id), 0);
	tf_dup_retire(c.e, id);
	assert_int_equal(c.e->n.dups, 1);
	tf_dup_unreserve(c.e, id);
	assert_int_equal(c.e->n.dups, 0);
	chains_close(&c);
}

static void spans_keep_a_slot_without_sharers(void **state)
{
	struct chains c;
	uint32_t id, slot;

	(void)state;
	chains_open(&c, 2);
	id = new_dup(&c, 5);
	slot = tf_dup_get(c.e, id)->slot;
	link_page(&c, id, 0);
	tf_dup_unlink(c.e, c.b, 0, true);
	tf_frame_forget(c.b, 0);
	assert_int_equal(tf_slot_dup(c.s, slot), id);
	assert_int_equal(c.e->n.used, 0);
	tf_dup_unspan(c.e, id);
	assert_int_equal(tf_slot_dup(c.s, slot), 0);
	chains_close(&c);
}

/* Nobody uses it any more, but others may be healed from it. */
static void the_last_copy_is_kept_for_lost_ones(void **state)
{
	uint32_t lost, last;
	struct chains c;

	(void)state;
	chains_open(&c, 2);
	lost = new_dup(&c, c.s->zero_hash);
	link_page(&c, lost, 0);
	link_page(&c, lost, 1);
	tf_dup_condemn(c.e, lost);
	last = new_dup(&c, c.s->zero_hash);
	link_page(&c, last, 2);
	unlink_page(&c, 2);
	assert_int_equal(c.e->n.dups, 2);
	assert_int_equal(c.e->n.kept, 1);
	assert_true(tf_dup_has_twin(c.e, lost));
	check(&c);
	link_page(&c, last, 2);
	check(&c);
	unlink_page(&c, 2);
	unlink_page(&c, 0);
	assert_int_equal(c.e->n.dups, 2);
	unlink_page(&c, 1); /* healed: it is not needed any more */
	assert_int_equal(c.e->n.dups + c.e->n.kept, 0);
	check(&c);
	chains_close(&c);
}

static void one_copy_that_can_be_read_is_enough(void **state)
{
	uint32_t lost;
	struct chains c;

	(void)state;
	chains_open(&c, 2);
	lost = new_dup(&c, c.s->zero_hash);
	link_page(&c, lost, 0);
	tf_dup_condemn(c.e, lost);
	link_page(&c, new_dup(&c, c.s->zero_hash), 1);
	link_page(&c, new_dup(&c, c.s->zero_hash), 2);
	unlink_page(&c, 2);
	assert_int_equal(c.e->n.dups, 2);
	assert_int_equal(c.e->n.kept, 0);
	check(&c);
	chains_close(&c);
}

static void sharers_keep_their_positions(void **state)
{
	struct chains c;
	uint32_t id;

	(void)state;
	chains_open(&c, 256);
	id = new_dup(&c, 5);
	for (unsigned i = 0; i < 100; i++)
		link_page(&c, id, i);
	check(&c);
	for (unsigned i = 0; i < 100; i += 3)
		unlink_page(&c, i);
	check(&c);
	chains_close(&c);
}

/* Most contents have one twin. */
static void two_sharers_need_no_list(void **state)
{
	struct chains c;
	uint32_t id;

	(void)state;
	chains_open(&c, 256);
	id = new_dup(&c, 5);
	link_page(&c, id, 0);
	link_page(&c, id, 1);
	assert_int_equal(c.e->n.sharer_room, 0);
	check(&c);
	for (unsigned i = 2; i < 30; i++) {
		link_page(&c, id, i);
		assert_true(c.e->n.sharer_room > i);
		check(&c);
	}
	for (unsigned i = 0; i < 29; i++) {
		unlink_page(&c, i);
		check(&c);
	}
	assert_int_equal(tf_dup_sharers(tf_dup_get(c.e, id))[0],
			 tf_ref(c.b, 29));
	chains_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_is_found_by_its_hash),
		cmocka_unit_test(the_index_grows_past_its_first_size),
		cmocka_unit_test(the_head_has_room_if_any_dup_has),
		cmocka_unit_test(a_full_dup_goes_behind_those_with_room),
		cmocka_unit_test(counts_are_those_of_ksm),
		cmocka_unit_test(places_are_taken_and_given_back),
		cmocka_unit_test(spans_keep_a_slot_without_sharers),
		cmocka_unit_test(the_last_copy_is_kept_for_lost_ones),
		cmocka_unit_test(one_copy_that_can_be_read_is_enough),
		cmocka_unit_test(sharers_keep_their_positions),
		cmocka_unit_test(two_sharers_need_no_list),
	};

	return unit_run(tests);
}
