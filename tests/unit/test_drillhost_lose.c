/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/drillhost/lose.c: the monitor's lines that raise machine checks, names
 * of ways to lose a page, and what is asked for wrongly.
 */
#include <errno.h>
#include <string.h>

#include "agent/drillhost/lose.h"
#include "lib/unit_ends.h"

static void expect_line(enum lose_how how, unsigned cpu, const char *right)
{
	char line[LOSE_LINE_MAX];

	lose_line(how, cpu, UINT64_C(0x1fffff000), line);
	assert_string_equal(line, right);
}

/* docs/drills.md has them too. */
static void lines_are_those_of_the_manuals(void **state)
{
	(void)state;
	expect_line(LOSE_DEFERRED, 1,
		    "mce 1 9 0x9c00180000000000 0x5 0x1fffff000 0x8c");
	expect_line(LOSE_SRAO, 0,
		    "mce -b 0 9 0xbd000000000000c0 0x5 0x1fffff000 0x8c");
	expect_line(LOSE_SRAR, 0,
		    "mce 0 9 0xbd80000000000134 0x7 0x1fffff000 0x8c");
	expect_line(LOSE_CORRECTED, 0,
		    "mce 0 9 0x9c000000000000c0 0x0 0x1fffff000 0x8c");
	expect_line(LOSE_BYTES, 0, "");
	expect_line(LOSE_HARD_OFFLINE, 0, "");
	expect_line(LOSE_CORRUPT_PFN, 0, "");
}

static void the_longest_line_fits(void **state)
{
	char line[LOSE_LINE_MAX];

	(void)state;
	for (int i = 0; i < N_LOSE; i++) {
		lose_line((enum lose_how)i, UINT32_MAX, UINT64_MAX, line);
		assert_true(strlen(line) < LOSE_LINE_MAX - 1);
	}
}

static void names_lead_back(void **state)
{
	enum lose_how how = N_LOSE;

	(void)state;
	for (int i = 0; i < N_LOSE; i++) {
		assert_int_equal(lose_find(lose_name((enum lose_how)i), &how),
				 0);
		assert_int_equal(how, i);
	}
	assert_int_equal(lose_find("sra", &how), -EINVAL);
	assert_int_equal(lose_find("", &how), -EINVAL);
	assert_int_equal(how, N_LOSE - 1);
}

static void expect_answer(struct ends *e, struct host *host,
			  const char *request, int error)
{
	json_t *object = json_loads(request, 0, NULL), *said = NULL;

	assert_non_null(object);
	assert_int_equal(lose_serve(host, object), 0);
	json_decref(object);
	assert_int_equal(channel_receive(&e->other, 1, &said), 0);
	assert_int_equal(json_integer_value(json_object_get(said, "error")),
			 error);
	json_decref(said);
}

/* Nothing is stopped or lost for those: there is no QEMU here. */
static void requests_are_checked(void **state)
{
	struct ends *e = *state;
	struct host host = { .gdb = -1 };

	channel_init(&host.inside, e->fd[0]);
	channel_init(&host.qmp, -1);
	expect_answer(e, &host, "{\"lose\": \"srao\", \"pa\": 4096}", EINVAL);
	expect_answer(e, &host, "{\"lose\": \"srao\", \"pa\": 1, \"cpu\": 0}",
		      EINVAL);
	expect_answer(e, &host, "{\"lose\": \"all\", \"pa\": 4096, \"cpu\": 0}",
		      EINVAL);
	expect_answer(e, &host, "{\"lose\": 5, \"pa\": 4096, \"cpu\": 0}",
		      EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_those_of_the_manuals),
		cmocka_unit_test(the_longest_line_fits),
		cmocka_unit_test(names_lead_back),
		ENDS_CASE(requests_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
