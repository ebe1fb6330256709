/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The intrusive list: order, removal, and a removed node that stands alone. */
#include "engine/base/list.h"
#include "lib/unit_world.h"

struct item {
	int value;
	struct tf_list link;
};

static int sum_in_order(const struct tf_list *head)
{
	const struct item *it;
	int sum = 0;

	tf_list_for_each(it, head, link)
		sum = sum * 10 + it->value;
	return sum;
}

static void appends_keep_their_order(void **state)
{
	struct item a = { .value = 1 }, b = { .value = 2 }, c = { .value = 3 };
	struct tf_list head;

	(void)state;
	tf_list_init(&head);
	assert_true(tf_list_empty(&head));
	assert_int_equal(sum_in_order(&head), 0);
	tf_list_append(&head, &a.link);
	tf_list_append(&head, &b.link);
	tf_list_append(&head, &c.link);
	assert_int_equal(sum_in_order(&head), 123);
}

static void removal_leaves_the_others(void **state)
{
	struct item a = { .value = 1 }, b = { .value = 2 };
	struct tf_list head;

	(void)state;
	tf_list_init(&head);
	tf_list_append(&head, &a.link);
	tf_list_append(&head, &b.link);
	tf_list_remove(&a.link);
	assert_int_equal(sum_in_order(&head), 2);
	tf_list_remove(&a.link); /* a removed node is a list of its own */
	assert_int_equal(sum_in_order(&head), 2);
	tf_list_remove(&b.link);
	assert_true(tf_list_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appends_keep_their_order),
		cmocka_unit_test(removal_leaves_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
