/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* agent/drillhost/gdb.c: packets to QEMU's gdb stub, and what it answers. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/drillhost/gdb.h"

static enum gdb_answer parse(const char *text)
{
	return gdb_parse(text, strlen(text));
}

/* The example of the GDB manual is "g" -> "$g#67". */
static void packet_has_its_checksum(void **state)
{
	char packet[GDB_PACKET_MAX];

	(void)state;
	assert_int_equal(gdb_packet("g", packet), 5);
	assert_string_equal(packet, "$g#67");
	gdb_packet("", packet);
	assert_string_equal(packet, "$#00");
}

static void write_has_address_length_bytes(void **state)
{
	const unsigned char bytes[] = { 0x00, 0xdb, 0x0f };
	char text[GDB_PACKET_MAX];

	(void)state;
	gdb_write_text(0x12345000, bytes, sizeof(bytes), text);
	assert_string_equal(text, "M12345000,3:00db0f");
}

static void largest_write_fits(void **state)
{
	unsigned char bytes[GDB_WRITE_MAX];
	char text[GDB_PACKET_MAX], packet[GDB_PACKET_MAX];

	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	gdb_write_text(UINT64_MAX, bytes, sizeof(bytes), text);
	assert_true(gdb_packet(text, packet) < GDB_PACKET_MAX);
	assert_true(strlen(packet) < 4096);
}

static void answers_are_told_apart(void **state)
{
	(void)state;
	assert_int_equal(parse(""), GDB_MORE);
	assert_int_equal(parse("+"), GDB_MORE);
	assert_int_equal(parse("+$OK"), GDB_MORE);
	assert_int_equal(parse("+$OK#9"), GDB_MORE);
	assert_int_equal(parse("+$OK#9a"), GDB_OK);
	assert_int_equal(parse("$E14#aa"), GDB_REFUSED);
	assert_int_equal(parse("$#00"), GDB_REFUSED);
}

/* It says so by itself when the machine stops. */
static void stop_reports_are_no_answers(void **state)
{
	(void)state;
	assert_int_equal(parse("$T02thread:01;#04"), GDB_MORE);
	assert_int_equal(parse("$T02thread:01;#04+$OK#9a"), GDB_OK);
	assert_int_equal(parse("$S05#b8$E01#a6"), GDB_REFUSED);
}

struct stub {
	int fd;
	const char *answer;
	unsigned packets;
	size_t bytes;
};

/* One answer for each packet; counts what is written. */
static void *answer_all(void *arg)
{
	struct stub *s = arg;
	char c;

	while (read(s->fd, &c, 1) == 1) {
		s->bytes++;
		if (c != '#')
			continue;
		s->packets++;
		assert_int_equal(write(s->fd, s->answer, strlen(s->answer)),
				 strlen(s->answer));
	}
	return NULL;
}

static int write_page(const char *answer, struct stub *stub)
{
	unsigned char page[4096] = { 1 };
	pthread_t thread;
	int fd[2], r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	*stub = (struct stub){ .fd = fd[1], .answer = answer };
	assert_int_equal(pthread_create(&thread, NULL, answer_all, stub), 0);
	r = gdb_write(fd[0], 0x1000, page, sizeof(page));
	close(fd[0]);
	pthread_join(thread, NULL);
	close(fd[1]);
	return r;
}

static void page_is_written_in_pieces(void **state)
{
	struct stub stub;

	(void)state;
	assert_int_equal(write_page("+$OK#9a", &stub), 0);
	assert_int_equal(stub.packets, 4096 / GDB_WRITE_MAX);
	assert_true(stub.bytes > 2 * 4096);
}

static void refusal_is_an_error(void **state)
{
	struct stub stub;

	(void)state;
	assert_int_equal(write_page("+$E14#aa", &stub), -EIO);
	assert_int_equal(stub.packets, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packet_has_its_checksum),
		cmocka_unit_test(write_has_address_length_bytes),
		cmocka_unit_test(largest_write_fits),
		cmocka_unit_test(answers_are_told_apart),
		cmocka_unit_test(stop_reports_are_no_answers),
		cmocka_unit_test(page_is_written_in_pieces),
		cmocka_unit_test(refusal_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
