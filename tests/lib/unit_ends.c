/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pair of sockets with a channel on each. */
#include "lib/unit_ends.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int ends_open(void **state)
{
	struct ends *e = calloc(1, sizeof(*e));

	if (!e || socketpair(AF_UNIX, SOCK_STREAM, 0, e->fd))
		return -1;
	channel_init(&e->ours, e->fd[0]);
	channel_init(&e->other, e->fd[1]);
	*state = e;
	return 0;
}

void ends_hang_up(struct ends *e)
{
	assert_int_equal(close(e->fd[1]), 0);
	e->fd[1] = -1;
}

int ends_close(void **state)
{
	struct ends *e = *state;

	for (unsigned i = 0; i < 2; i++)
		if (e->fd[i] >= 0 && close(e->fd[i]))
			return -1;
	free(e);
	return 0;
}

void ends_say(const struct ends *e, const char *text)
{
	assert_int_equal(write(e->fd[1], text, strlen(text)), strlen(text));
}

void ends_expect(struct channel *ch, const char *key, const char *word)
{
	json_t *object = NULL;

	assert_int_equal(channel_receive(ch, 1, &object), 0);
	assert_string_equal(channel_text(object, key), word);
	json_decref(object);
}
