/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hashes: a secret for each store, and the 48 bits a frame keeps. */
#include "engine/hash.h"

#include <errno.h>
#include <string.h>

#include "lib/unit_world.h"

static char page[TF_PAGE] __attribute__((aligned(4096)));

static uint64_t hash_with(const uint8_t *secret)
{
	uint64_t h = 0;

	assert_int_equal(tf_os_linux.hash(&tf_os_linux, page, secret, &h), 0);
	return h;
}

static void secrets_differ_and_so_do_hashes(void **state)
{
	uint8_t a[TF_SECRET_BYTES], b[TF_SECRET_BYTES];

	(void)state;
	unit_fill(page, 1);
	assert_int_equal(tf_hash_secret(&tf_os_linux, a), 0);
	assert_int_equal(tf_hash_secret(&tf_os_linux, b), 0);
	assert_memory_not_equal(a, b, TF_SECRET_BYTES);
	assert_int_equal(hash_with(a), hash_with(a));
	assert_true(hash_with(a) != hash_with(b));
}

static void every_byte_counts(void **state)
{
	uint8_t secret[TF_SECRET_BYTES];
	uint64_t before;

	(void)state;
	unit_fill(page, 2);
	assert_int_equal(tf_hash_secret(&tf_os_linux, secret), 0);
	before = hash_with(secret);
	for (unsigned i = 0; i < TF_PAGE; i += 273) {
		page[i] ^= 1;
		assert_true(hash_with(secret) != before);
		page[i] ^= 1;
	}
	assert_true(hash_with(secret) == before);
}

static int no_random(const struct tf_os *os, void *buf, size_t len)
{
	(void)os;
	(void)buf;
	(void)len;
	return -EIO;
}

static void no_random_numbers_no_secret(void **state)
{
	struct tf_os os = tf_os_linux;
	uint8_t secret[TF_SECRET_BYTES];

	(void)state;
	os.random = no_random;
	assert_int_equal(tf_hash_secret(&os, secret), -EIO);
}

static void frames_keep_forty_eight_bits(void **state)
{
	const uint64_t h = UINT64_C(0xaaaabbbbccccdddd);
	struct tf_frame f = { 0 };

	(void)state;
	tf_frame_set_hash(&f, h);
	assert_true(tf_frame_has_hash(&f, h));
	assert_true(tf_frame_has_hash(&f, h ^ UINT64_C(1) << 63));
	assert_false(tf_frame_has_hash(&f, h ^ UINT64_C(1) << 47));
	assert_false(tf_frame_has_hash(&f, h ^ 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(secrets_differ_and_so_do_hashes),
		cmocka_unit_test(every_byte_counts),
		cmocka_unit_test(no_random_numbers_no_secret),
		cmocka_unit_test(frames_keep_forty_eight_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
