/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Log lines: formatted, cut when too long, handed to the callback alone. */
#include <string.h>

#include "engine/base/log.h"
#include "lib/unit_world.h"

struct heard {
	unsigned lines;
	enum tf_log_level level;
	char line[1024];
};

static void hear(void *user, enum tf_log_level level, const char *line)
{
	struct heard *h = user;

	h->lines++;
	h->level = level;
	strncpy(h->line, line, sizeof(h->line) - 1);
}

static void lines_are_formatted(void **state)
{
	struct heard h = { 0 };
	struct tf_logger log = { .fn = hear, .user = &h };

	(void)state;
	tf_log(&log, TF_LOG_NOTICE, "page %d of %s", 7, "guest");
	assert_int_equal(h.lines, 1);
	assert_int_equal(h.level, TF_LOG_NOTICE);
	assert_string_equal(h.line, "page 7 of guest");
}

static void long_lines_are_cut(void **state)
{
	struct heard h = { 0 };
	struct tf_logger log = { .fn = hear, .user = &h };

	(void)state;
	tf_log(&log, TF_LOG_ERR, "%0900d", 1);
	assert_int_equal(h.lines, 1);
	assert_int_equal(strlen(h.line), 511);
}

static void without_a_callback_nothing_happens(void **state)
{
	struct tf_logger log = { 0 };

	(void)state;
	tf_log(&log, TF_LOG_ERR, "%s", "nobody hears this");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_formatted),
		cmocka_unit_test(long_lines_are_cut),
		cmocka_unit_test(without_a_callback_nothing_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
