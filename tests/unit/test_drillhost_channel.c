/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* agent/drillhost/channel.c: objects, one a line, and every way it ends. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/unit_ends.h"

static void lines_come_one_by_one(void **state)
{
	struct ends *e = *state;

	ends_say(e, "{\"k\":\"a\"}\n{\"k\":\"b\"}\r\n{\"k\":");
	ends_expect(&e->ours, "k", "a");
	ends_expect(&e->ours, "k", "b");
	ends_say(e, "\"c\"}\n");
	ends_expect(&e->ours, "k", "c");
}

static void sent_is_one_line(void **state)
{
	struct ends *e = *state;
	char got[64] = "";

	assert_int_equal(
		channel_send(&e->ours, json_pack("{s:s}", "k", "x\ny")), 0);
	assert_true(read(e->fd[1], got, sizeof(got) - 1) > 0);
	assert_string_equal(got, "{\"k\":\"x\\ny\"}\n");
}

static void nothing_waits_for_ever(void **state)
{
	struct ends *e = *state;
	json_t *object = NULL;

	ends_say(e, "{\"k\":");
	assert_int_equal(channel_receive(&e->ours, 0.05, &object), -ETIMEDOUT);
	assert_null(object);
}

static void other_side_is_gone(void **state)
{
	struct ends *e = *state;
	json_t *object = NULL;

	ends_hang_up(e);
	assert_int_equal(channel_receive(&e->ours, 1, &object), -EPIPE);
	assert_int_equal(channel_send(&e->ours, json_object()), -EPIPE);
}

static void noise_is_refused(void **state)
{
	struct ends *e = *state;
	json_t *object = NULL;
	char *noise = malloc(CHANNEL_LINE_MAX);

	ends_say(e, "[1]\n");
	assert_int_equal(channel_receive(&e->ours, 1, &object), -EPROTO);
	ends_say(e, "nonsense\n");
	assert_int_equal(channel_receive(&e->ours, 1, &object), -EPROTO);
	memset(noise, 'x', CHANNEL_LINE_MAX);
	assert_int_equal(write(e->fd[1], noise, CHANNEL_LINE_MAX),
			 CHANNEL_LINE_MAX);
	assert_int_equal(channel_receive(&e->ours, 1, &object), -EPROTO);
	free(noise);
}

static void want_of_an_object_is_an_error(void **state)
{
	struct ends *e = *state;

	assert_int_equal(channel_send(&e->ours, NULL), -ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENDS_CASE(lines_come_one_by_one),
		ENDS_CASE(sent_is_one_line),
		ENDS_CASE(nothing_waits_for_ever),
		ENDS_CASE(other_side_is_gone),
		ENDS_CASE(noise_is_refused),
		ENDS_CASE(want_of_an_object_is_an_error),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
