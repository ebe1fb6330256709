/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store: who shares one, slots, and when an offset may be used again. */
#include "engine/store.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>

#include "lib/unit_world.h"

static struct tf_store *get(struct unit *u, const char *domain,
			    const void *owner, const struct tf_attrs *attrs)
{
	struct tf_store *s = NULL;

	assert_int_equal(tf_store_get(u->e, domain, owner, attrs, &s), 0);
	return s;
}

static struct tf_store *open_store(struct unit *u)
{
	const struct tf_attrs plain = { 0 };
	struct tf_store *s;

	unit_init(u);
	unit_open(u);
	pthread_mutex_lock(&u->e->lock);
	s = get(u, "d", NULL, &plain);
	return s;
}

static void close_store(struct unit *u, struct tf_store *s)
{
	tf_store_put(s);
	pthread_mutex_unlock(&u->e->lock);
	unit_close(u);
}

static void one_store_for_each_domain_and_policy(void **state)
{
	const struct tf_attrs plain = { 0 };
	const struct tf_attrs bound = { .policy = MPOL_BIND, .nodes = { 1 } };
	struct tf_store *s[5];
	struct unit u;

	(void)state;
	s[0] = open_store(&u);
	assert_ptr_equal(get(&u, "d", NULL, &plain), s[0]);
	tf_store_put(s[0]);
	s[1] = get(&u, "e", NULL, &plain);
	s[2] = get(&u, "", &s[0], &plain);
	s[3] = get(&u, "", &s[1], &plain);
	s[4] = get(&u, "d", NULL, &bound);
	for (int i = 0; i < 5; i++)
		for (int j = 0; j < i; j++)
			assert_ptr_not_equal(s[i], s[j]);
	assert_memory_not_equal(s[0]->secret, s[1]->secret, TF_SECRET_BYTES);
	for (int i = 1; i < 5; i++)
		tf_store_put(s[i]);
	close_store(&u, s[0]);
}

static void slots_rise_and_know_their_dup(void **state)
{
	struct unit u;
	struct tf_store *s = open_store(&u);
	uint32_t slot, next;

	(void)state;
	assert_int_equal(tf_slot_dup(s, 0), 0);
	assert_int_equal(tf_slot_alloc(s, &slot), 0);
	assert_int_equal(tf_slot_alloc(s, &next), 0);
	assert_int_equal(next, slot + 1);
	tf_slot_bind(s, slot, 77);
	assert_int_equal(tf_slot_dup(s, slot), 77);
	assert_int_equal(tf_slot_dup(s, next), 0);
	tf_slot_free(s, slot);
	assert_int_equal(tf_slot_dup(s, slot), 0);
	tf_slot_abandon(s, next);
	assert_true(tf_store_bytes(s) > sizeof(*s));
	close_store(&u, s);
}

static void put_bytes(struct tf_store *s, uint32_t slot, char byte)
{
	char page[TF_PAGE];

	memset(page, byte, sizeof(page));
	assert_int_equal(tf_os_linux.write_at(&tf_os_linux, s->fd, page,
					      TF_PAGE,
					      (uint64_t)slot * TF_PAGE),
			 TF_PAGE);
}

/* By the file: the engine's mapping refuses to show a hole. */
static char byte_of(const struct tf_store *s, uint32_t slot)
{
	char byte = 1;

	assert_int_equal(tf_os_linux.read_at(&tf_os_linux, s->fd, &byte, 1,
					     (uint64_t)slot * TF_PAGE + 9),
			 1);
	return byte;
}

static void freed_slots_are_punched(void **state)
{
	struct unit u;
	struct tf_store *s = open_store(&u);
	uint64_t before = unit_store_blocks(u.e);
	uint32_t slot[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tf_slot_alloc(s, &slot[i]), 0);
		put_bytes(s, slot[i], 'x');
		tf_slot_bind(s, slot[i], 5);
	}
	assert_int_equal(unit_store_blocks(u.e), before + 3 * 8);
	tf_slot_free(s, slot[0]);
	tf_slot_free(s, slot[2]);
	tf_store_flush(s);
	assert_int_equal(unit_store_blocks(u.e), before + 8);
	assert_int_equal(byte_of(s, slot[0]), 0);
	assert_int_equal(byte_of(s, slot[1]), 'x');
	close_store(&u, s);
}

/* A child that could not be followed; test_resolver.c has real ones. */
static void forked_children_put_punching_off(void **state)
{
	struct unit u;
	struct tf_store *s = open_store(&u);
	uint32_t slot;

	(void)state;
	assert_int_equal(tf_slot_alloc(s, &slot), 0);
	put_bytes(s, slot, 'x');
	tf_slot_bind(s, slot, 5);
	tf_slot_free(s, slot);
	u.e->forks.lost = true;
	tf_store_flush(s);
	assert_int_equal(tf_slot_bytes(s, slot)[0], 'x');
	u.e->forks.lost = false;
	tf_store_flush(s);
	assert_int_equal(byte_of(s, slot), 0);
	close_store(&u, s);
}

/* Use window 0 up; every slot is bound. */
static void fill_window(struct tf_store *s)
{
	for (uint32_t i = 0; i < TF_WINDOW_SLOTS; i++) {
		uint32_t slot;

		assert_int_equal(tf_slot_alloc(s, &slot), 0);
		assert_int_equal(slot, i);
		tf_slot_bind(s, slot, 1);
	}
}

static void a_window_with_a_live_slot_is_not_reused(void **state)
{
	struct unit u;
	struct tf_store *s = open_store(&u);
	uint32_t slot;

	(void)state;
	fill_window(s);
	for (uint32_t i = 1; i < TF_WINDOW_SLOTS; i++)
		tf_slot_free(s, i);
	tf_store_flush(s);
	assert_int_equal(tf_slot_alloc(s, &slot), 0);
	assert_int_equal(slot, TF_WINDOW_SLOTS);
	tf_slot_abandon(s, slot);
	tf_slot_free(s, 0);
	tf_store_flush(s);
	assert_null(s->windows[0].dup_of);
	close_store(&u, s);
}

/* The window in use dies with its last slot: the next slot needs a new one. */
static void a_dead_window_is_opened_anew(void **state)
{
	struct unit u;
	struct tf_store *s = open_store(&u);
	uint32_t slot;

	(void)state;
	fill_window(s);
	for (uint32_t i = 0; i < TF_WINDOW_SLOTS; i++)
		tf_slot_free(s, i);
	tf_store_flush(s);
	assert_int_equal(tf_slot_alloc(s, &slot), 0);
	assert_int_equal(slot, 0);
	tf_slot_bind(s, slot, 9);
	assert_int_equal(tf_slot_dup(s, slot), 9);
	tf_slot_free(s, slot);
	close_store(&u, s);
}

/* Slots that are being written hold their window, bound or not. */
static void slots_handed_out_hold_their_window(void **state)
{
	struct unit u;
	struct tf_store *s = open_store(&u);
	uint32_t slot;

	(void)state;
	for (uint32_t i = 0; i < TF_WINDOW_SLOTS; i++)
		assert_int_equal(tf_slot_alloc(s, &slot), 0);
	for (uint32_t i = 1; i < TF_WINDOW_SLOTS; i++)
		tf_slot_abandon(s, i);
	tf_store_flush(s);
	assert_non_null(s->windows[0].dup_of);
	tf_slot_bind(s, 0, 3);
	assert_int_equal(tf_slot_dup(s, 0), 3);
	tf_slot_free(s, 0);
	close_store(&u, s);
}

static int punch_fails(const struct tf_os *os, int fd, uint64_t off,
		       uint64_t len)
{
	(void)os;
	(void)fd;
	(void)off;
	(void)len;
	return -ENOMEM;
}

static void a_failed_punch_is_tried_again(void **state)
{
	struct unit u;
	struct tf_store *s = open_store(&u);
	uint32_t slot;

	(void)state;
	u.os.punch = punch_fails;
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(tf_slot_alloc(s, &slot), 0);
		tf_slot_bind(s, slot, 1);
		tf_slot_free(s, slot);
	}
	assert_int_equal(s->ndead, 1000);
	u.os.punch = tf_os_linux.punch;
	tf_store_flush(s);
	assert_int_equal(s->ndead, 0);
	close_store(&u, s);
}

static int memfd_fails(const struct tf_os *os, const char *name, uint64_t bytes)
{
	(void)os;
	(void)name;
	(void)bytes;
	return -EMFILE;
}

static long map_fails(const struct tf_os *os, void *addr, size_t len, int prot,
		      int flags, int fd, uint64_t off)
{
	(void)os;
	(void)addr;
	(void)len;
	(void)prot;
	(void)flags;
	(void)fd;
	(void)off;
	return -ENOMEM;
}

static void failures_leave_no_store(void **state)
{
	const struct tf_attrs plain = { 0 };
	struct unit u;
	struct tf_store *s = open_store(&u), *other = NULL;

	(void)state;
	u.os.memfd = memfd_fails;
	assert_int_equal(tf_store_get(u.e, "x", NULL, &plain, &other), -EMFILE);
	u.os.memfd = tf_os_linux.memfd;
	u.os.map = map_fails;
	assert_int_equal(tf_store_get(u.e, "x", NULL, &plain, &other), -ENOMEM);
	u.os.map = tf_os_linux.map;
	assert_null(other);
	close_store(&u, s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_store_for_each_domain_and_policy),
		cmocka_unit_test(slots_rise_and_know_their_dup),
		cmocka_unit_test(freed_slots_are_punched),
		cmocka_unit_test(forked_children_put_punching_off),
		cmocka_unit_test(a_window_with_a_live_slot_is_not_reused),
		cmocka_unit_test(a_dead_window_is_opened_anew),
		cmocka_unit_test(slots_handed_out_hold_their_window),
		cmocka_unit_test(a_failed_punch_is_tried_again),
		cmocka_unit_test(failures_leave_no_store),
	};

	return unit_run(tests);
}
