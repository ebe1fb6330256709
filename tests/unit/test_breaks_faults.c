/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames that are given another dup, or leave theirs, while the kernel has no
 * memory for it: no byte is lost, and what the kernel copies by itself is known
 * as such.
 */
#include "engine/breaks.h"

#include <errno.h>
#include <sys/mman.h>

#include "engine/chain.h"
#include "engine/store.h"
#include "lib/unit_world.h"

#define PAGES 16u
#define HALF (PAGES / 2)

static _Atomic unsigned failing;

/* A second dup of the chain of page 0, with the same bytes. */
static uint32_t second_dup(struct unit *u, struct tf_store *s, uint64_t hash)
{
	char page[TF_PAGE];
	uint32_t slot, id;

	unit_fill(page, 1);
	assert_int_equal(tf_slot_alloc(s, &slot), 0);
	assert_int_equal(u->os.write_at(&u->os, s->fd, page, TF_PAGE,
					(uint64_t)slot * TF_PAGE),
			 TF_PAGE);
	assert_int_equal(tf_dup_create(s, hash, slot, &id), 0);
	assert_int_equal(tf_dup_reserve(u->e, id), 0);
	return id;
}

/* Move page 0 to a second dup; what tf_rehome() says. */
static int rehome_first(struct unit *u, char *ram)
{
	struct unit_spot s = unit_spot(u, ram);
	const struct tf_dup *d;
	int err;

	pthread_mutex_lock(&u->e->lock);
	d = tf_dup_get(u->e, s.f->shared.dup);
	err = tf_rehome(s.b, s.page, second_dup(u, d->store, d->hash));
	pthread_mutex_unlock(&u->e->lock);
	unit_check(u);
	return err;
}

static void rehoming_keeps_the_bytes(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	assert_int_equal(rehome_first(&u, ram), 0);
	assert_int_equal(unit_stats(&u).chain_dups, 1);
	assert_int_equal(unit_stats(&u).pages_recoverable, 2);
	unit_assert_page(ram, 1);
	unit_fill(ram, 5); /* protected as before */
	assert_int_equal(unit_stats(&u).breaks, 1);
	unit_assert_page(ram + HALF * TF_PAGE, 1);
	unit_close(&u);
}

static long map_fails(const struct tf_os *os, void *addr, size_t len, int prot,
		      int flags, int fd, uint64_t off)
{
	if (fd >= 0 && (flags & MAP_PRIVATE) && failing) {
		failing--;
		munmap(addr, len);
		return -ENOMEM;
	}
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static void by_a_failed_rehoming(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, map, map_fails);
	failing = 1;
	assert_int_equal(rehome_first(&u, ram), -ENOMEM);
	unit_assert_fresh(&u, ram);
	unit_assert_page(ram, 1);
	unit_assert_waits_a_pass(&u, ram);
	unit_close(&u);
}

static int protect_fails(const struct tf_os *os, int uffd, void *addr,
			 size_t len, bool on)
{
	if (on && failing) {
		failing--;
		return -ENOMEM;
	}
	return tf_os_linux.uffd_protect(os, uffd, addr, len, on);
}

static int remap_fails(const struct tf_os *os, void *from, size_t len, void *to)
{
	if (failing) {
		failing--;
		return -ENOMEM;
	}
	return tf_os_linux.remap_over(os, from, len, to);
}

/* The remap fails half way: nothing is mapped at the frame any more. */
static int remap_unmaps(const struct tf_os *os, void *from, size_t len,
			void *to)
{
	if (failing) {
		failing--;
		munmap(to, len);
		return -ENOMEM;
	}
	return tf_os_linux.remap_over(os, from, len, to);
}

static void rehoming_without_protection_is_cow(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, uffd_protect, protect_fails);
	failing = 1;
	assert_int_equal(rehome_first(&u, ram), 0);
	failing = 0;
	assert_int_equal(unit_state(&u, ram), TF_FRAME_COW);
	unit_fill(ram, 5);
	unit_assert_page(ram, 5);
	unit_assert_page(ram + HALF * TF_PAGE, 1);
	unit_close(&u);
}

/* No memory to break: the kernel copies, and the writer goes on. */
static void by_the_kernel_when_memory_is_short(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	failing = 1;
	unit_fill(ram, 5);
	unit_assert_page(ram, 5);
	unit_assert_page(ram + HALF * TF_PAGE, 1);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_COW);
	assert_int_equal(unit_guest_stats(g).pages_cow, 1);
	assert_int_equal(unit_stats(&u).pages_sharing, HALF - 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_COW);
	/* A discard gives it a hole, and it is a frame like any other. */
	assert_int_equal(tf_guest_discard(g, 0, TF_PAGE), 0);
	assert_int_equal(unit_guest_stats(g).pages_cow, 0);
	unit_fill(ram, 1);
	unit_pass(&u);
	unit_assert_fresh(&u, ram);
	unit_pass(&u);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_SHARED);
	unit_close(&u);
}

/* A COW frame keeps its dup's slot when the last sharer has gone. */
static void cow_frames_keep_their_slot(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, uffd_protect, protect_fails);
	failing = 1;
	assert_int_equal(rehome_first(&u, ram), 0);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_COW);
	unit_passes(&u, 2);
	unit_assert_page(ram, 1); /* punched, it would be zeros */
	assert_int_equal(tf_guest_unmerge(g, 0, TF_PAGE), 0);
	unit_assert_fresh(&u, ram);
	unit_assert_page(ram, 1);
	unit_check(&u);
	unit_close(&u);
}

static void unmerge_without_memory_says_so(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	failing = 1;
	assert_int_equal(tf_guest_unmerge(g, 0, PAGES * TF_PAGE), -ENOMEM);
	unit_assert_run(ram, HALF, 1);
	unit_check(&u);
	assert_int_equal(tf_guest_unmerge(g, 0, PAGES * TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_shared, 0);
	unit_assert_run(ram, HALF, 1);
	unit_close(&u);
}

static void a_break_that_loses_the_mapping_keeps_the_bytes(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, remap_over, remap_unmaps);
	failing = 1;
	assert_int_equal(tf_guest_unmerge(g, 0, 4 * TF_PAGE), -ENOMEM);
	unit_check(&u);
	unit_assert_run(ram, HALF, 1);
	failing = 1;
	unit_fill(ram + TF_PAGE, 9); /* the kernel copies */
	assert_int_equal(failing, 0);
	unit_assert_page(ram, 1);
	unit_assert_page(ram + TF_PAGE, 9);
	unit_assert_page(ram + (HALF + 1) * TF_PAGE, 2);
	unit_close(&u);
}

/* Removal that finds no memory leaves plain copy-on-write mappings. */
static void removal_without_memory_leaves_cow(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, remap_over, remap_fails);
	failing = 1000;
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	failing = 0;
	assert_true(unit_log_has(&u, "stay copy-on-write"));
	unit_assert_run(ram, HALF, 1);
	unit_fill(ram, 5); /* nobody sleeps */
	unit_assert_page(ram + HALF * TF_PAGE, 1);
	assert_int_equal(unit_stats(&u).pages_cow, 0);
	unit_close(&u);
}

/* Fail to unmerge a COW frame whose dup has filled up meanwhile. */
static void no_dup_takes_more_than_its_share(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.smart_scan = 0;
	u.opts.max_page_sharing = 2;
	unit_open(&u);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_pass(&u);
	unit_wrap(&u, uffd_protect, protect_fails);
	failing = 1; /* one half of the pair is COW */
	unit_pass(&u);
	failing = 0;
	assert_int_equal(unit_stats(&u).pages_cow, 1);
	unit_fill(ram + 2 * TF_PAGE, 1);
	unit_passes(&u, 2); /* its place is taken */
	assert_int_equal(unit_stats(&u).pages_sharing, 1);
	unit_wrap(&u, remap_over, remap_fails);
	failing = 100;
	unit_wrap(&u, uffd_protect, tf_os_linux.uffd_protect);
	assert_int_equal(tf_guest_unmerge(g, 0, PAGES * TF_PAGE), -ENOMEM);
	unit_check(&u);
	failing = 0;
	assert_int_equal(tf_guest_unmerge(g, 0, PAGES * TF_PAGE), 0);
	unit_check(&u);
	assert_int_equal(unit_stats(&u).pages_shared, 0);
	for (unsigned i = 0; i < 3; i++)
		unit_assert_page(ram + i * TF_PAGE, 1);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rehoming_keeps_the_bytes),
		cmocka_unit_test(by_a_failed_rehoming),
		cmocka_unit_test(rehoming_without_protection_is_cow),
		cmocka_unit_test(by_the_kernel_when_memory_is_short),
		cmocka_unit_test(cow_frames_keep_their_slot),
		cmocka_unit_test(unmerge_without_memory_says_so),
		cmocka_unit_test(
			a_break_that_loses_the_mapping_keeps_the_bytes),
		cmocka_unit_test(removal_without_memory_leaves_cow),
		cmocka_unit_test(no_dup_takes_more_than_its_share),
	};

	return unit_run(tests);
}
