/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What removed memslots leave is found again, in whatever order they were
 * removed, and in time proportional to its number.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/chain.h"
#include "engine/leftover.h"
#include "lib/unit_world.h"

static int remap_fails(const struct tf_os *os, void *from, size_t len, void *to)
{
	(void)os;
	(void)from;
	(void)len;
	(void)to;
	return -ENOMEM;
}

/* `slots` memslots of `pages` pages. All but their last pages have twins half
 * way on, and are merged. Nothing can be given back. */
static struct tf_guest *open_merged(struct unit *u, unsigned slots,
				    unsigned pages, char **ram)
{
	size_t bytes = pages * TF_PAGE;
	unsigned half = slots * pages / 2;
	struct tf_guest *g;

	unit_init(u);
	u->opts.smart_scan = 0;
	unit_open(u);
	g = unit_guest(u, NULL);
	*ram = unit_ram(u, slots * bytes);
	unit_fill_run(*ram, half, 1);
	unit_fill_run(*ram + half * TF_PAGE, half, 1);
	for (unsigned i = 0; i < slots; i++) {
		unit_slot(g, i, i * bytes, *ram + i * bytes, bytes);
		unit_fill(*ram + (i + 1) * bytes - TF_PAGE, 2 * half + i);
	}
	unit_passes(u, 4);
	assert_int_equal(unit_guest_stats(g).pages_merged, 2 * half - slots);
	unit_wrap(u, remap_over, remap_fails);
	return g;
}

#define SLOTS 4u
#define SLOT_PAGES 16u
#define SLOT_BYTES (SLOT_PAGES * TF_PAGE)

static void memslots_go_in_any_order(void **state)
{
	const uint32_t order[SLOTS] = { 2, 0, 3, 1 };
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_merged(&u, SLOTS, SLOT_PAGES, &ram);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < SLOTS; i++)
			assert_int_equal(tf_guest_del_memslot(g, order[i]), 0);
		assert_int_equal(unit_stats(&u).pages_cow, 0);
		for (unsigned i = 0; i < SLOTS; i++)
			unit_slot(g, i, i * SLOT_BYTES, ram + i * SLOT_BYTES,
				  SLOT_BYTES);
		assert_int_equal(unit_stats(&u).pages_cow,
				 SLOTS * (SLOT_PAGES - 1));
		unit_check(&u);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		unit_assert_run(ram + i * SLOT_BYTES, SLOT_PAGES - 1,
				1 + i % (SLOTS / 2) * SLOT_PAGES);
	unit_close(&u);
}

/* What it was merged with belongs to a store of another policy. */
static void another_policy_is_refused(void **state)
{
	unsigned long node = 1;
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_merged(&u, 2, SLOT_PAGES, &ram);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	if (syscall(SYS_mbind, ram, SLOT_BYTES, MPOL_PREFERRED, &node,
		    8 * sizeof(node), 0))
		unit_skip("this host has no memory policies");
	assert_int_equal(tf_guest_add_memslot(g, 0, 0, ram, SLOT_BYTES),
			 -EOPNOTSUPP);
	assert_true(unit_log_has(&u, "another memory policy"));
	assert_int_equal(syscall(SYS_mbind, ram, SLOT_BYTES, MPOL_DEFAULT, NULL,
				 0, 0),
			 0);
	unit_slot(g, 0, 0, ram, SLOT_BYTES);
	assert_int_equal(unit_stats(&u).pages_cow, SLOT_PAGES - 1);
	unit_assert_run(ram, SLOT_PAGES - 1, 1);
	unit_close(&u);
}

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#define TRIES 5

/* The best of a few: how long it takes to know `pages` of them. */
static double time_of(struct tf_guest *g, const char *ram, unsigned pages,
		      uint64_t off)
{
	uintptr_t start = (uintptr_t)ram;
	double best = 1e9;

	for (int i = 0; i < TRIES; i++) {
		double begin = cpu(), took;

		assert_true(
			tf_leftover_is(g, start, start + pages * TF_PAGE, off));
		took = cpu() - begin;
		best = took < best ? took : best;
	}
	return best;
}

#define MANY 8192u

static void many_take_no_longer_each(void **state)
{
	struct tf_guest *g;
	struct unit u;
	uint64_t off;
	char *ram;

	(void)state;
	g = open_merged(&u, 2, MANY, &ram);
	off = tf_dup_get(u.e, unit_spot(&u, ram).was.shared.dup)->slot *
	      TF_PAGE;
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	/* Sixteen times as long if each is looked for from the beginning. */
	assert_true(time_of(g, ram, MANY - 1, off) <
		    8 * time_of(g, ram, MANY / 4, off));
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memslots_go_in_any_order),
		cmocka_unit_test(another_policy_is_refused),
		cmocka_unit_test(many_take_no_longer_each),
	};

	return unit_run(tests);
}
