/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bitmap of a block: bits, ranges, and walking the set ones. */
#include "engine/base/bitmap.h"
#include "lib/unit_world.h"

static void bits_are_independent(void **state)
{
	struct tf_bits b = { 0 };

	(void)state;
	assert_true(tf_bits_empty(&b));
	tf_bit_set(&b, 0);
	tf_bit_set(&b, 63);
	tf_bit_set(&b, 64);
	tf_bit_set(&b, TF_BITS - 1);
	assert_true(tf_bit(&b, 63) && tf_bit(&b, 64));
	assert_false(tf_bit(&b, 62) || tf_bit(&b, 65));
	tf_bit_clear(&b, 63);
	assert_false(tf_bit(&b, 63));
	assert_true(tf_bit(&b, 64));
	tf_bits_zero(&b);
	assert_true(tf_bits_empty(&b));
}

static void ranges_end_before_their_end(void **state)
{
	struct tf_bits b = { 0 };

	(void)state;
	tf_bits_set_range(&b, 60, 60);
	assert_true(tf_bits_empty(&b));
	tf_bits_set_range(&b, 60, 70);
	for (unsigned i = 0; i < TF_BITS; i++)
		assert_int_equal(tf_bit(&b, i), i >= 60 && i < 70);
}

static void walking_finds_all_in_order(void **state)
{
	const unsigned at[] = { 0, 1, 63, 64, 127, 300, TF_BITS - 1 };
	struct tf_bits b = { 0 };
	unsigned n = 0;

	(void)state;
	assert_int_equal(tf_bits_next(&b, 0), TF_BITS);
	for (unsigned i = 0; i < 7; i++)
		tf_bit_set(&b, at[i]);
	tf_bits_for_each(i, &b)
		assert_int_equal(i, at[n++]);
	assert_int_equal(n, 7);
	assert_int_equal(tf_bits_next(&b, 301), TF_BITS - 1);
	assert_int_equal(tf_bits_next(&b, TF_BITS), TF_BITS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_are_independent),
		cmocka_unit_test(ranges_end_before_their_end),
		cmocka_unit_test(walking_finds_all_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
