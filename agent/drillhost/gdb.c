/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See gdb.h. */
#include "agent/drillhost/gdb.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MS 30000
#define ANSWER_MAX 4096

size_t gdb_packet(const char *text, char ret[GDB_PACKET_MAX])
{
	unsigned sum = 0;

	for (const char *c = text; *c; c++)
		sum += (unsigned char)*c;
	return (size_t)snprintf(ret, GDB_PACKET_MAX, "$%s#%02x", text,
				sum & 0xff);
}

void gdb_write_text(uint64_t at, const unsigned char *bytes, size_t n,
		    char ret[GDB_PACKET_MAX])
{
	int used = snprintf(ret, GDB_PACKET_MAX, "M%" PRIx64 ",%zx:", at, n);

	for (size_t i = 0; i < n; i++)
		used += snprintf(ret + used, 3, "%02x", bytes[i]);
}

/* The end of the packet that begins at `at`, behind its checksum; NULL: it is
 * not there yet. */
static const char *packet_end(const char *at, const char *end)
{
	const char *hash = memchr(at, '#', (size_t)(end - at));

	return hash && end - hash >= 3 ? hash + 3 : NULL;
}

enum gdb_answer gdb_parse(const char *bytes, size_t n)
{
	const char *end = bytes + n;

	while (bytes < end) {
		const char *next;

		if (*bytes != '$') {
			bytes++;
			continue;
		}
		next = packet_end(bytes, end);
		if (!next)
			return GDB_MORE;
		if (bytes[1] != 'T' && bytes[1] != 'S')
			return next - bytes == 6 &&
					       !memcmp(bytes + 1, "OK", 2) ?
				       GDB_OK :
				       GDB_REFUSED;
		bytes = next;
	}
	return GDB_MORE;
}

static int put(int fd, const char *text)
{
	char packet[GDB_PACKET_MAX];
	size_t n = gdb_packet(text, packet);

	return write(fd, packet, n) == (ssize_t)n ? 0 : -EPIPE;
}

/* Answers are not acknowledged: a byte that came after the machine was resumed
 * would stop it again, and the next packet does as well. */
static int wait_ok(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	enum gdb_answer answer = GDB_MORE;
	char got[ANSWER_MAX];
	size_t n = 0;

	while (answer == GDB_MORE) {
		ssize_t more;

		if (poll(&p, 1, ANSWER_MS) <= 0)
			return -ETIMEDOUT;
		more = read(fd, got + n, sizeof(got) - n);
		if (more <= 0)
			return -EPIPE;
		n += (size_t)more;
		answer = gdb_parse(got, n);
	}
	return answer == GDB_OK ? 0 : -EIO;
}

int gdb_physical(int fd)
{
	int r = put(fd, "Qqemu.PhyMemMode:1");

	return r ? r : wait_ok(fd);
}

int gdb_write(int fd, uint64_t at, const unsigned char *bytes, size_t n)
{
	char text[GDB_PACKET_MAX];

	while (n) {
		size_t some = n < GDB_WRITE_MAX ? n : GDB_WRITE_MAX;
		int r;

		gdb_write_text(at, bytes, some, text);
		r = put(fd, text);
		if (!r)
			r = wait_ok(fd);
		if (r)
			return r;
		at += some;
		bytes += some;
		n -= some;
	}
	return 0;
}
