/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/drillhost/monitor.c: what is said to QEMU's monitor, and every way it
 * answers; and the lines that raise machine checks there (lose.c).
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/drillhost/lose.h"
#include "agent/drillhost/monitor.h"

#define EVENT                                                                  \
	"{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, "               \
	"\"microseconds\": 2}}\n"
#define DONE "{\"return\": {}}\n"

/* The other side has answered already; what it was asked is read after it. */
struct ends {
	int fd[2];
	struct channel qmp, other;
};

static int set_up(void **state)
{
	struct ends *e = calloc(1, sizeof(*e));

	if (!e || socketpair(AF_UNIX, SOCK_STREAM, 0, e->fd))
		return -1;
	channel_init(&e->qmp, e->fd[0]);
	channel_init(&e->other, e->fd[1]);
	*state = e;
	return 0;
}

static int tear_down(void **state)
{
	struct ends *e = *state;

	close(e->fd[0]);
	close(e->fd[1]);
	free(e);
	return 0;
}

static void answer(const struct ends *e, const char *text)
{
	assert_int_equal(write(e->fd[1], text, strlen(text)), strlen(text));
}

static void expect(struct ends *e, const char *command)
{
	json_t *object = NULL;

	assert_int_equal(channel_receive(&e->other, 1, &object), 0);
	assert_string_equal(channel_text(object, "execute"), command);
	json_decref(object);
}

static void greeting_comes_first(void **state)
{
	struct ends *e = *state;

	answer(e, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n" DONE);
	assert_int_equal(monitor_begin(&e->qmp), 0);
	expect(e, "qmp_capabilities");
}

static void events_come_between(void **state)
{
	struct ends *e = *state;

	answer(e, EVENT EVENT DONE);
	assert_int_equal(monitor_stop(&e->qmp), 0);
	expect(e, "stop");
	answer(e, DONE EVENT);
	assert_int_equal(monitor_resume(&e->qmp), 0);
	expect(e, "cont");
	answer(e, DONE);
	assert_int_equal(monitor_resume(&e->qmp), 0);
}

static void errors_are_told(void **state)
{
	struct ends *e = *state;

	answer(e,
	       "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n");
	assert_int_equal(monitor_stop(&e->qmp), -EIO);
	answer(e, "not JSON\n");
	assert_int_equal(monitor_stop(&e->qmp), -EPROTO);
	shutdown(e->fd[1], SHUT_WR);
	assert_int_equal(monitor_stop(&e->qmp), -EPIPE);
}

/* A command of the human monitor that succeeds says nothing. */
static void words_of_a_line_are_an_error(void **state)
{
	struct ends *e = *state;

	answer(e, "{\"return\": \"\"}\n");
	assert_int_equal(monitor_line(&e->qmp, "mce 0 9 1 2 3 4", NULL), 0);
	expect(e, "human-monitor-command");
	answer(e, "{\"return\": \"Invalid CPU index\\r\\n\"}\n");
	assert_int_equal(monitor_line(&e->qmp, "mce 9 9 1 2 3 4", NULL), -EIO);
	answer(e, DONE);
	assert_int_equal(monitor_line(&e->qmp, "mce 0 9 1 2 3 4", NULL),
			 -EPROTO);
}

static void words_of_a_line_are_returned(void **state)
{
	struct ends *e = *state;
	json_t *object = NULL, *arguments;
	char *text = NULL;

	answer(e, "{\"return\": \"RIP=0000000000401000\"}\n");
	assert_int_equal(monitor_line(&e->qmp, "info registers", &text), 0);
	assert_string_equal(text, "RIP=0000000000401000");
	free(text);
	assert_int_equal(channel_receive(&e->other, 1, &object), 0);
	arguments = json_object_get(object, "arguments");
	assert_string_equal(channel_text(arguments, "command-line"),
			    "info registers");
	json_decref(object);
}

/* ---- lines ---- */

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
		cmocka_unit_test_setup_teardown(greeting_comes_first, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(events_come_between, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(errors_are_told, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(words_of_a_line_are_an_error,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(words_of_a_line_are_returned,
						set_up, tear_down),
		cmocka_unit_test(lines_are_those_of_the_manuals),
		cmocka_unit_test(the_longest_line_fits),
		cmocka_unit_test(names_lead_back),
		cmocka_unit_test_setup_teardown(requests_are_checked, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
