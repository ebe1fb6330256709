/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/drillhost/monitor.c: what is said to QEMU's monitor, and every way it
 * answers. Here the other side has answered already; what it was asked is read
 * after it.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "agent/drillhost/monitor.h"
#include "lib/unit_ends.h"

#define EVENT                                                                  \
	"{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, "               \
	"\"microseconds\": 2}}\n"
#define DONE "{\"return\": {}}\n"

static void greeting_comes_first(void **state)
{
	struct ends *e = *state;

	ends_say(e,
		 "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n" DONE);
	assert_int_equal(monitor_begin(&e->ours), 0);
	ends_expect(&e->other, "execute", "qmp_capabilities");
}

static void events_come_between(void **state)
{
	struct ends *e = *state;

	ends_say(e, EVENT EVENT DONE);
	assert_int_equal(monitor_stop(&e->ours), 0);
	ends_expect(&e->other, "execute", "stop");
	ends_say(e, DONE EVENT);
	assert_int_equal(monitor_resume(&e->ours), 0);
	ends_expect(&e->other, "execute", "cont");
	ends_say(e, DONE);
	assert_int_equal(monitor_resume(&e->ours), 0);
}

static void errors_are_told(void **state)
{
	struct ends *e = *state;

	ends_say(
		e,
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n");
	assert_int_equal(monitor_stop(&e->ours), -EIO);
	ends_say(e, "not JSON\n");
	assert_int_equal(monitor_stop(&e->ours), -EPROTO);
	shutdown(e->fd[1], SHUT_WR);
	assert_int_equal(monitor_stop(&e->ours), -EPIPE);
}

/* A command of the human monitor that succeeds says nothing. */
static void words_of_a_line_are_an_error(void **state)
{
	struct ends *e = *state;

	ends_say(e, "{\"return\": \"\"}\n");
	assert_int_equal(monitor_line(&e->ours, "mce 0 9 1 2 3 4", NULL), 0);
	ends_expect(&e->other, "execute", "human-monitor-command");
	ends_say(e, "{\"return\": \"Invalid CPU index\\r\\n\"}\n");
	assert_int_equal(monitor_line(&e->ours, "mce 9 9 1 2 3 4", NULL), -EIO);
	ends_say(e, DONE);
	assert_int_equal(monitor_line(&e->ours, "mce 0 9 1 2 3 4", NULL),
			 -EPROTO);
}

static void words_of_a_line_are_returned(void **state)
{
	struct ends *e = *state;
	json_t *object = NULL, *arguments;
	char *text = NULL;

	ends_say(e, "{\"return\": \"RIP=0000000000401000\"}\n");
	assert_int_equal(monitor_line(&e->ours, "info registers", &text), 0);
	assert_string_equal(text, "RIP=0000000000401000");
	free(text);
	assert_int_equal(channel_receive(&e->other, 1, &object), 0);
	arguments = json_object_get(object, "arguments");
	assert_string_equal(channel_text(arguments, "command-line"),
			    "info registers");
	json_decref(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENDS_CASE(greeting_comes_first),
		ENDS_CASE(events_come_between),
		ENDS_CASE(errors_are_told),
		ENDS_CASE(words_of_a_line_are_an_error),
		ENDS_CASE(words_of_a_line_are_returned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
