/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The id table: ids from 1 on, records that never move, and its limit. */
#include <errno.h>

#include "engine/base/idtable.h"
#include "lib/unit_world.h"

struct record {
	uint32_t a, b;
};

static void ids_start_at_one_and_are_zeroed(void **state)
{
	struct tf_idtable t;
	uint32_t id;

	(void)state;
	assert_int_equal(tf_idtable_init(&t, sizeof(struct record), 4096), 0);
	for (uint32_t want = 1; want < 3000; want++) {
		struct record *r;

		assert_int_equal(tf_idtable_alloc(&t, &id), 0);
		assert_int_equal(id, want);
		r = tf_idtable_get(&t, id);
		assert_int_equal(r->a | r->b, 0);
		r->a = r->b = id;
	}
	assert_int_equal(t.live, 2999);
	for (uint32_t i = 1; i < 3000; i++)
		assert_int_equal(((struct record *)tf_idtable_get(&t, i))->b,
				 i);
	tf_idtable_fini(&t);
}

static void freed_ids_come_back_clean(void **state)
{
	struct tf_idtable t;
	uint32_t a, b, again;
	struct record *r;

	(void)state;
	assert_int_equal(tf_idtable_init(&t, sizeof(struct record), 1024), 0);
	assert_int_equal(tf_idtable_alloc(&t, &a), 0);
	assert_int_equal(tf_idtable_alloc(&t, &b), 0);
	r = tf_idtable_get(&t, a);
	r->a = r->b = 77;
	tf_idtable_free(&t, a);
	assert_int_equal(t.live, 1);
	assert_int_equal(tf_idtable_alloc(&t, &again), 0);
	assert_int_equal(again, a);
	assert_ptr_equal(tf_idtable_get(&t, again), r);
	assert_int_equal(r->a | r->b, 0);
	tf_idtable_fini(&t);
}

static void the_limit_is_an_error(void **state)
{
	struct tf_idtable t;
	uint32_t id, got = 0;

	(void)state;
	assert_int_equal(tf_idtable_init(&t, sizeof(struct record), 2048), 0);
	while (got <= 2048 && tf_idtable_alloc(&t, &id) == 0)
		got++;
	assert_int_equal(got, 2047); /* id 0 is none */
	assert_int_equal(tf_idtable_alloc(&t, &id), -ENOMEM);
	tf_idtable_free(&t, 5);
	assert_int_equal(tf_idtable_alloc(&t, &id), 0);
	assert_int_equal(id, 5);
	tf_idtable_fini(&t);
}

static void bytes_follow_use(void **state)
{
	struct tf_idtable t;
	size_t empty;
	uint32_t id;

	(void)state;
	assert_int_equal(tf_idtable_init(&t, sizeof(struct record), 4096), 0);
	empty = tf_idtable_bytes(&t);
	for (int i = 0; i < 2000; i++)
		assert_int_equal(tf_idtable_alloc(&t, &id), 0);
	assert_true(tf_idtable_bytes(&t) >=
		    empty + 2000 * sizeof(struct record));
	tf_idtable_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_start_at_one_and_are_zeroed),
		cmocka_unit_test(freed_ids_come_back_clean),
		cmocka_unit_test(the_limit_is_an_error),
		cmocka_unit_test(bytes_follow_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
