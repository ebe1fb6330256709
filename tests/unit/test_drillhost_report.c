/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/drillhost/report.c: the table and the object that a matrix of rows
 * becomes. The drills here are the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/drillhost/matrix.h"

static const struct drill_case sample = { .name = "a-drill",
					  .fault = "a page is lost" };
const struct drill_case *const drill_cases[] = { &sample, NULL };

const struct drill_case *drill_case_find(const char *name)
{
	return strcmp(name, sample.name) ? NULL : &sample;
}

/* For `drill --list`, which is not tested here. */
const char *caps_name(enum cap cap)
{
	(void)cap;
	return "";
}

const char *caps_about(enum cap cap)
{
	(void)cap;
	return "";
}

void caps_list(uint32_t set, char *ret, unsigned room)
{
	snprintf(ret, room, "set %x", (unsigned)set);
}

const char *host_vendor_name(enum host_vendor vendor)
{
	return vendor == HOST_AMD ? "amd" : "intel";
}

static const struct matrix_opts opts = { .seed = 77 };

static struct row *add(struct matrix *m, enum row_configuration configuration)
{
	struct row *row = &m->rows[m->nrows++];

	snprintf(row->drill, sizeof(row->drill), "a-drill");
	row->configuration = configuration;
	row->ran = row->passed = true;
	return row;
}

static int set_up(void **state)
{
	struct matrix *m = calloc(1, sizeof(*m));
	struct row *row;

	if (!m)
		return -1;
	m->opts = &opts;
	m->boots = 3;
	m->hosts = json_object();
	row = add(m, ROW_TWINFOLD);
	row->faults = 4;
	row->healed = 3;
	row->vmces = row->expected_vmces = 1;
	row->guest_checks = 1000;
	row->nheals = 1;
	row->heal_us[0] = 61;
	snprintf(row->outcome, sizeof(row->outcome), "went on");
	row = add(m, ROW_BASELINE);
	row->deaths = 2;
	snprintf(row->outcome, sizeof(row->outcome), "killed");
	*state = m;
	return 0;
}

static int tear_down(void **state)
{
	struct matrix *m = *state;

	json_decref(m->hosts);
	free(m);
	return 0;
}

static int print_json(const struct matrix *m)
{
	return matrix_print_json(m);
}

static int print_table(const struct matrix *m)
{
	matrix_print_table(m);
	return 0;
}

/* What is written to stdout meanwhile; the caller frees it. */
static char *capture(int (*print)(const struct matrix *),
		     const struct matrix *m)
{
	int fd = memfd_create("stdout", MFD_CLOEXEC), old;
	char *text = calloc(1, 16384);

	assert_non_null(text);
	fflush(stdout);
	old = dup(STDOUT_FILENO);
	assert_true(fd >= 0 && old >= 0);
	dup2(fd, STDOUT_FILENO);
	assert_int_equal(print(m), 0);
	fflush(stdout);
	dup2(old, STDOUT_FILENO);
	close(old);
	assert_true(pread(fd, text, 16383, 0) > 0);
	close(fd);
	return text;
}

static void assert_has(const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("\"%s\" is not in:\n%s", what, text);
}

static void table_has_a_line_for_each_row(void **state)
{
	char *text = capture(print_table, *state);

	assert_has(text, "a page is lost");
	assert_has(text, "twinfold  went on\n");
	assert_has(text, "baseline  killed\n");
	assert_has(text, "4 faults with twinfold: 3 healed (p50 61 us, p99 61 "
			 "us by emulation), 1 machine checks of guests, "
			 "expected 1\n");
	assert_has(text, "guests that died in the baseline: 2\n");
	assert_has(text, "3 boots, seed 77\n");
	free(text);
}

static void table_says_what_failed_and_what_was_not_run(void **state)
{
	struct matrix *m = *state;
	char *text;

	m->rows[0].passed = false;
	snprintf(m->rows[0].why, sizeof(m->rows[0].why), "a wrong byte");
	m->rows[1].ran = m->rows[1].passed = false;
	snprintf(m->rows[1].why, sizeof(m->rows[1].why), "the host lacks ksm");
	text = capture(print_table, m);
	assert_has(text, "twinfold  FAILED: a wrong byte\n");
	assert_has(text, "baseline  not run: the host lacks ksm\n");
	free(text);
}

static json_int_t number(const json_t *o, const char *key)
{
	const json_t *value = json_object_get(o, key);

	assert_true(json_is_integer(value));
	return json_integer_value(value);
}

static void object_has_sums_and_rows(void **state)
{
	char *text = capture(print_json, *state);
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *row;

	assert_non_null(o);
	assert_string_equal(channel_text(o, "backend"), "mce");
	assert_int_equal(number(o, "seed"), 77);
	assert_int_equal(number(o, "faults"), 4);
	assert_int_equal(number(o, "healed"), 3);
	assert_int_equal(number(o, "baseline_deaths"), 2);
	assert_int_equal(number(o, "boots"), 3);
	assert_int_equal(json_array_size(json_object_get(o, "rows")), 2);
	row = json_array_get(json_object_get(o, "rows"), 1);
	assert_string_equal(channel_text(row, "fault"), "a page is lost");
	assert_string_equal(channel_text(row, "outcome"), "killed");
	json_decref(o);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(table_has_a_line_for_each_row,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			table_says_what_failed_and_what_was_not_run, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(object_has_sums_and_rows,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
