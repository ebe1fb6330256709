/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON objects, one a line, over a descriptor: between this command and the
 * one that runs inside a drill host, and with QEMU's monitor. Nothing waits
 * for ever. One thread at a time.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_CHANNEL_H
#define TWINFOLD_AGENT_DRILLHOST_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#define CHANNEL_LINE_MAX 65536

struct channel {
	int fd; /* not owned; -1: none */
	size_t n;
	char buf[CHANNEL_LINE_MAX];
};

void channel_init(struct channel *ch, int fd);

/* Take the reference to `message`. EPIPE, EIO, ENOMEM. */
int channel_send(struct channel *ch, json_t *message);

/*
 * The next object; the caller owns it. ETIMEDOUT: none came in so many
 * seconds. EPIPE: the other side has gone. EPROTO: a line that is no object,
 * or too long a line.
 */
int channel_receive(struct channel *ch, double seconds, json_t **ret);

/* Text of an object's key, or "". Owned by the object. */
const char *channel_text(const json_t *object, const char *key);

#endif
