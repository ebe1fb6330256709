/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* agent/drillhost/channel.c: objects, one a line, and every way it ends. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/drillhost/channel.h"

struct ends {
	int fd[2];
	struct channel ch;
};

static int set_up(void **state)
{
	struct ends *e = calloc(1, sizeof(*e));

	if (!e || socketpair(AF_UNIX, SOCK_STREAM, 0, e->fd))
		return -1;
	channel_init(&e->ch, e->fd[0]);
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

static void say(const struct ends *e, const char *text)
{
	assert_int_equal(write(e->fd[1], text, strlen(text)), strlen(text));
}

static void expect(struct ends *e, const char *value)
{
	json_t *object = NULL;

	assert_int_equal(channel_receive(&e->ch, 1, &object), 0);
	assert_string_equal(channel_text(object, "k"), value);
	json_decref(object);
}

static void lines_come_one_by_one(void **state)
{
	struct ends *e = *state;

	say(e, "{\"k\":\"a\"}\n{\"k\":\"b\"}\r\n{\"k\":");
	expect(e, "a");
	expect(e, "b");
	say(e, "\"c\"}\n");
	expect(e, "c");
}

static void sent_is_one_line(void **state)
{
	struct ends *e = *state;
	char got[64] = "";

	assert_int_equal(channel_send(&e->ch, json_pack("{s:s}", "k", "x\ny")),
			 0);
	assert_true(read(e->fd[1], got, sizeof(got) - 1) > 0);
	assert_string_equal(got, "{\"k\":\"x\\ny\"}\n");
}

static void nothing_waits_for_ever(void **state)
{
	struct ends *e = *state;
	json_t *object = NULL;

	say(e, "{\"k\":");
	assert_int_equal(channel_receive(&e->ch, 0.05, &object), -ETIMEDOUT);
	assert_null(object);
}

static void other_side_is_gone(void **state)
{
	struct ends *e = *state;
	json_t *object = NULL;

	close(e->fd[1]);
	assert_int_equal(channel_receive(&e->ch, 1, &object), -EPIPE);
	assert_int_equal(channel_send(&e->ch, json_object()), -EPIPE);
}

static void noise_is_refused(void **state)
{
	struct ends *e = *state;
	json_t *object = NULL;
	char *noise = malloc(CHANNEL_LINE_MAX);

	say(e, "[1]\n");
	assert_int_equal(channel_receive(&e->ch, 1, &object), -EPROTO);
	say(e, "nonsense\n");
	assert_int_equal(channel_receive(&e->ch, 1, &object), -EPROTO);
	memset(noise, 'x', CHANNEL_LINE_MAX);
	assert_int_equal(write(e->fd[1], noise, CHANNEL_LINE_MAX),
			 CHANNEL_LINE_MAX);
	assert_int_equal(channel_receive(&e->ch, 1, &object), -EPROTO);
	free(noise);
}

static void want_of_an_object_is_an_error(void **state)
{
	struct ends *e = *state;

	assert_int_equal(channel_send(&e->ch, NULL), -ENOMEM);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(lines_come_one_by_one),
		CASE(sent_is_one_line),
		CASE(nothing_waits_for_ever),
		CASE(other_side_is_gone),
		CASE(noise_is_refused),
		CASE(want_of_an_object_is_an_error),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
