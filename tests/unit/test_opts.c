/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options: sized structs of older and newer callers, and what is refused. */
#include <errno.h>
#include <string.h>

#include "engine/opts.h"
#include "lib/unit_world.h"

struct ours {
	size_t size;
	long a, b;
};

struct newer {
	size_t size;
	long a, b, c;
};

static void an_older_struct_leaves_defaults(void **state)
{
	struct {
		size_t size;
		long a;
	} older = { .size = sizeof(older), .a = 5 };
	struct ours to = { .size = sizeof(to), .a = 1, .b = 2 };

	(void)state;
	assert_int_equal(tf_opts_copy(&to, sizeof(to), &older), 0);
	assert_int_equal(to.size, sizeof(to));
	assert_int_equal(to.a, 5);
	assert_int_equal(to.b, 2);
}

static void a_newer_struct_must_not_ask_for_more(void **state)
{
	struct newer from = { .size = sizeof(from), .a = 5, .b = 6 };
	struct ours to = { .size = sizeof(to) };

	(void)state;
	assert_int_equal(tf_opts_copy(&to, sizeof(to), &from), 0);
	assert_int_equal(to.b, 6);
	from.c = 1;
	from.a = 9;
	assert_int_equal(tf_opts_copy(&to, sizeof(to), &from), -EINVAL);
	assert_int_equal(to.a, 5);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
	struct ours to = { .size = sizeof(to), .a = 1 }, from = to;

	(void)state;
	assert_int_equal(tf_opts_copy(&to, sizeof(to), NULL), 0);
	assert_int_equal(to.a, 1);
	from.size = sizeof(size_t) - 1;
	assert_int_equal(tf_opts_copy(&to, sizeof(to), &from), -EINVAL);
	from.size = 4097;
	assert_int_equal(tf_opts_copy(&to, sizeof(to), &from), -EINVAL);
	assert_int_equal(tf_opts_export(&from, &to, sizeof(to)), -EINVAL);
	from.size = sizeof(size_t);
	assert_int_equal(tf_opts_export(&from, &to, sizeof(to)), -EINVAL);
}

static void exports_fill_what_the_caller_has(void **state)
{
	const struct ours from = { .size = sizeof(from), .a = 3, .b = 4 };
	struct newer big = { .size = sizeof(big), .c = 77 };
	struct ours small = { .size = offsetof(struct ours, b), .b = 88 };

	(void)state;
	assert_int_equal(tf_opts_export(&big, &from, sizeof(from)), 0);
	assert_int_equal(big.size, sizeof(big));
	assert_int_equal(big.b, 4);
	assert_int_equal(tf_opts_export(&small, &from, sizeof(from)), 0);
	assert_int_equal(small.a, 3);
	assert_int_equal(small.b, 88);
	assert_int_equal(small.size, offsetof(struct ours, b));
}

/* Creation must fail, name the option, and leave `ret` alone. */
static void assert_refused(struct unit *u, const char *what)
{
	struct tf_engine *e = (struct tf_engine *)u;

	unit_log_clear(u);
	assert_int_equal(tf_engine_create(&u->opts, &e), -EINVAL);
	assert_ptr_equal(e, u);
	assert_true(unit_log_has(u, what));
	assert_true(unit_log_has(u, "give "));
}

static void values_out_of_range_are_named(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	u.opts.max_page_sharing = 1;
	assert_refused(&u, "max_page_sharing");
	u.opts.max_page_sharing = 4097;
	assert_refused(&u, "max_page_sharing");
	u.opts.max_page_sharing = 4096;
	u.opts.min_copies = 3;
	assert_refused(&u, "min_copies");
	u.opts.min_copies = 2;
	u.opts.scan_mode = (enum tf_scan_mode)3;
	assert_refused(&u, "scan_mode");
	u.opts.scan_mode = (enum tf_scan_mode) - 1;
	assert_refused(&u, "scan_mode");
	u.opts.scan_mode = TF_SCAN_AUTO;
	u.opts.unrecoverable_policy = (enum tf_policy)2;
	assert_refused(&u, "unrecoverable_policy");
	u.opts.unrecoverable_policy = TF_POLICY_ABORT;
	unit_open(&u);
	unit_close(&u);
}

static void zero_means_the_default(void **state)
{
	struct tf_engine_opts only_size = { .size = sizeof(only_size) };
	struct tf_engine *e;
	struct unit u;

	(void)state;
	unit_init(&u);
	assert_int_equal(tf_engine_create(&only_size, &e), 0);
	assert_int_equal(e->opts.max_page_sharing, 256);
	assert_int_equal(e->opts.min_copies, 1);
	assert_int_equal(e->opts.use_zero_pages, 0);
	tf_engine_destroy(e);
	assert_int_equal(tf_engine_create(NULL, &e), 0);
	assert_int_equal(e->opts.use_zero_pages, 1);
	assert_int_equal(e->opts.smart_scan, 1);
	tf_engine_destroy(e);
	unit_close(&u);
}

static void public_structs_check_their_size(void **state)
{
	struct tf_guest_opts opts = { .size = 3 };
	struct tf_guest *g = NULL;
	struct tf_stats s = { .size = 1 };
	struct tf_pass p = { .size = 4 };
	struct tf_guest_stats gs = { .size = 0 };
	struct unit u;

	(void)state;
	unit_init(&u);
	u.opts.size = 2;
	assert_int_equal(tf_engine_create(&u.opts, &u.e), -EINVAL);
	assert_null(u.e);
	u.opts.size = sizeof(u.opts);
	unit_open(&u);
	assert_int_equal(tf_guest_create(u.e, &opts, &g), -EINVAL);
	assert_null(g);
	assert_int_equal(tf_engine_stats(u.e, &s), -EINVAL);
	assert_int_equal(tf_engine_pass(u.e, &p), -EINVAL);
	assert_int_equal(tf_engine_pass(u.e, NULL), 0);
	g = unit_guest(&u, NULL);
	assert_int_equal(tf_guest_stats(g, &gs), -EINVAL);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_older_struct_leaves_defaults),
		cmocka_unit_test(a_newer_struct_must_not_ask_for_more),
		cmocka_unit_test(sizes_that_cannot_be_are_refused),
		cmocka_unit_test(exports_fill_what_the_caller_has),
		cmocka_unit_test(values_out_of_range_are_named),
		cmocka_unit_test(zero_means_the_default),
		cmocka_unit_test(public_structs_check_their_size),
	};

	return unit_run(tests);
}
