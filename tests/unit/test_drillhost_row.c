/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* agent/drillhost/row.c: rows as JSON and back, and the sums of a matrix. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/drillhost/row.h"

static struct row sample(enum row_configuration configuration)
{
	struct row row = { .configuration = configuration,
			   .ran = true,
			   .passed = true,
			   .guests = 2,
			   .deaths = 1,
			   .faults = 3,
			   .healed = 4,
			   .vmces = 5,
			   .expected_vmces = 6,
			   .unrecoverable = 7,
			   .wrong_bytes = 8,
			   .lost_writes = 9,
			   .guest_checks = UINT64_C(1) << 40,
			   .guest_check_failures = 10,
			   .by_source = { 11, 12, 13 },
			   .kernel_warnings = 14,
			   .seconds = 1.5,
			   .nheals = 3,
			   .heal_us = { 30, 10, 20 } };

	snprintf(row.drill, sizeof(row.drill), "a-drill");
	snprintf(row.outcome, sizeof(row.outcome), "they \"went\" on");
	return row;
}

static void row_survives_the_channel(void **state)
{
	struct row there = sample(ROW_BASELINE), back;
	json_t *object = row_to_json(&there);

	(void)state;
	memset(&back, 0xff, sizeof(back));
	assert_int_equal(row_from_json(object, &back), 0);
	json_decref(object);
	assert_string_equal(back.drill, there.drill);
	assert_string_equal(back.outcome, there.outcome);
	assert_string_equal(back.why, "");
	assert_int_equal(back.configuration, ROW_BASELINE);
	assert_true(back.ran && back.passed);
	assert_int_equal(back.guests, 2);
	assert_int_equal(back.deaths, 1);
	assert_int_equal(back.faults, 3);
	assert_int_equal(back.healed, 4);
	assert_int_equal(back.vmces, 5);
	assert_int_equal(back.expected_vmces, 6);
	assert_int_equal(back.unrecoverable, 7);
	assert_int_equal(back.wrong_bytes, 8);
	assert_int_equal(back.lost_writes, 9);
	assert_int_equal(back.guest_checks, UINT64_C(1) << 40);
	assert_int_equal(back.guest_check_failures, 10);
	assert_int_equal(back.by_source.fresh_copy, 11);
	assert_int_equal(back.by_source.existing_dup, 12);
	assert_int_equal(back.by_source.zero, 13);
	assert_int_equal(back.kernel_warnings, 14);
	assert_int_equal(back.nheals, 3);
	assert_true(back.heal_us[2] > 19.9 && back.heal_us[2] < 20.1);
}

static void no_row_is_refused(void **state)
{
	json_t *object = json_pack("{s:s}", "drill", "x");
	struct row row = { .guests = 77 };

	(void)state;
	assert_int_equal(row_from_json(object, &row), -EPROTO);
	assert_int_equal(row.guests, 77);
	json_decref(object);
}

static void first_blame_counts(void **state)
{
	struct row row = sample(ROW_TWINFOLD);

	(void)state;
	row_blame(&row, "%d %s", 2, "bytes");
	row_blame(&row, "something else");
	assert_false(row.passed);
	assert_string_equal(row.why, "2 bytes");
}

/* What happens in the baseline must not be taken for what twinfold does. */
static void sums_keep_the_baseline_apart(void **state)
{
	struct row *rows = calloc(4, sizeof(*rows));
	struct row_sums s;

	(void)state;
	assert_non_null(rows);
	rows[0] = sample(ROW_TWINFOLD);
	rows[1] = sample(ROW_BASELINE);
	rows[1].heal_us[0] = 1e6;
	rows[2] = sample(ROW_TWINFOLD);
	row_blame(&rows[2], "it failed");
	rows[3].configuration = ROW_TWINFOLD;
	row_blame(&rows[3], "it could not be run");
	assert_int_equal(row_sum(rows, 4, &s), 0);
	assert_int_equal(s.faults, 6);
	assert_int_equal(s.healed, 8);
	assert_int_equal(s.kernel_warnings, 28);
	assert_int_equal(s.baseline_kernel_warnings, 14);
	assert_int_equal(s.baseline_deaths, 1);
	assert_int_equal(s.failed, 1);
	assert_int_equal(s.not_run, 1);
	assert_true(s.p50_us > 19.9 && s.p50_us < 20.1);
	assert_true(s.p99_us < 30.1);
	free(rows);
}

static void no_rows_no_sums(void **state)
{
	struct row_sums s;

	(void)state;
	assert_int_equal(row_sum(NULL, 0, &s), 0);
	assert_int_equal(s.faults, 0);
	assert_true(s.p99_us <= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row_survives_the_channel),
		cmocka_unit_test(no_row_is_refused),
		cmocka_unit_test(first_blame_counts),
		cmocka_unit_test(sums_keep_the_baseline_apart),
		cmocka_unit_test(no_rows_no_sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
