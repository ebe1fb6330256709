/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See channel.h. */
#include "agent/drillhost/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/clock.h"

void channel_init(struct channel *ch, int fd)
{
	ch->fd = fd;
	ch->n = 0;
}

static int put(int fd, const char *at, size_t n)
{
	while (n) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return errno == EPIPE ? -EPIPE : -EIO;
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

int channel_send(struct channel *ch, json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	int r;

	json_decref(message);
	if (!text)
		return -ENOMEM;
	r = put(ch->fd, text, strlen(text));
	if (!r)
		r = put(ch->fd, "\n", 1);
	free(text);
	return r;
}

/* 0: nothing whole is there yet. */
static int take_line(struct channel *ch, json_t **ret)
{
	char *end = memchr(ch->buf, '\n', ch->n);
	size_t n;

	if (!end)
		return ch->n == sizeof(ch->buf) ? -EPROTO : 0;
	n = (size_t)(end - ch->buf);
	*ret = json_loadb(ch->buf, n, JSON_REJECT_DUPLICATES, NULL);
	ch->n -= n + 1;
	memmove(ch->buf, end + 1, ch->n);
	if (!json_is_object(*ret)) {
		json_decref(*ret);
		return -EPROTO;
	}
	return 1;
}

static int fill(struct channel *ch, double seconds)
{
	struct pollfd p = { .fd = ch->fd, .events = POLLIN };
	int r = poll(&p, 1, (int)(seconds * 1e3) + 1);
	ssize_t n;

	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	if (!r)
		return -ETIMEDOUT;
	n = read(ch->fd, ch->buf + ch->n, sizeof(ch->buf) - ch->n);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -EPIPE;
	ch->n += (size_t)n;
	return n ? 0 : -EPIPE;
}

int channel_receive(struct channel *ch, double seconds, json_t **ret)
{
	double end = clock_s() + seconds;
	json_t *object = NULL;
	int r;

	while (!(r = take_line(ch, &object))) {
		double left = end - clock_s();

		r = left > 0 ? fill(ch, left) : -ETIMEDOUT;
		if (r)
			return r;
	}
	if (r < 0)
		return r;
	*ret = object;
	return 0;
}

const char *channel_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}
