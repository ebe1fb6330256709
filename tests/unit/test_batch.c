/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A half-done merge undone: a slot cannot be written or mapped, while a batch
 * runs. No byte is lost, the frames are as just seen, and they merge later.
 */
#include <errno.h>
#include <sys/mman.h>

#include "lib/unit_batch.h"

static long bad_write(const struct tf_os *os, int fd, const void *buf,
		      size_t len, uint64_t off)
{
	return batch_fails() ? batch_fault.err :
			       tf_os_linux.write_at(os, fd, buf, len, off);
}

static long short_write(const struct tf_os *os, int fd, const void *buf,
			size_t len, uint64_t off)
{
	return tf_os_linux.write_at(os, fd, buf,
				    len > TF_PAGE ? TF_PAGE : len / 2, off);
}

/* Mapping a slot over a frame fails and leaves no mapping at all. */
static long bad_map(const struct tf_os *os, void *addr, size_t len, int prot,
		    int flags, int fd, uint64_t off)
{
	if (fd >= 0 && (flags & MAP_PRIVATE) && batch_fails()) {
		munmap(addr, len);
		return batch_fault.err;
	}
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

/* The same, but the old mapping stays. */
static long refused_map(const struct tf_os *os, void *addr, size_t len,
			int prot, int flags, int fd, uint64_t off)
{
	if (fd >= 0 && (flags & MAP_PRIVATE) && batch_fails())
		return batch_fault.err;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static int bad_protect(const struct tf_os *os, int uffd, void *addr, size_t len,
		       bool on)
{
	return on && batch_fails() ?
		       batch_fault.err :
		       tf_os_linux.uffd_protect(os, uffd, addr, len, on);
}

static long bad_zeropage(const struct tf_os *os, int uffd, void *addr,
			 size_t len)
{
	return batch_fails() ? batch_fault.err :
			       tf_os_linux.uffd_zeropage(os, uffd, addr, len);
}

static int bad_policy_advise(const struct tf_os *os, void *addr, size_t len,
			     int advice)
{
	if (advice == TF_POPULATE_READ && batch_fails())
		return batch_fault.err;
	return tf_os_linux.advise(os, addr, len, advice);
}

static void a_failed_write_undoes_the_pair(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	unit_wrap(&u, write_at, bad_write);
	batch_arm(-ENOSPC, 1);
	unit_pass(&u);
	assert_int_equal(unit_store_blocks(u.e), 0);
	batch_assert_undone(&u, ram);
}

static void a_short_write_undoes_what_it_left_out(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	unit_fill(ram + 2 * TF_PAGE, 2);
	unit_fill(ram + 3 * TF_PAGE, 2);
	unit_wrap(&u, write_at, short_write);
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).pages_shared, 0);
	unit_assert_page(ram, 1);
	unit_wrap(&u, write_at, tf_os_linux.write_at);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).pages_shared, 2);
	unit_assert_page(ram, 1);
	unit_assert_page(ram + 3 * TF_PAGE, 2);
	unit_close(&u);
}

/* Both halves of a pair are mapped one by one: both calls must fail. */
static void a_failed_map_is_made_good(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	unit_wrap(&u, map, bad_map);
	batch_arm(-ENOMEM, 2);
	unit_pass(&u);
	batch_assert_undone(&u, ram);
	batch_open(&u, &ram);
	unit_wrap(&u, map, refused_map);
	batch_arm(-ENOMEM, 2);
	unit_pass(&u);
	batch_assert_undone(&u, ram);
}

/* One half mapped, the other not: a dup with one sharer, which grows. */
static void half_a_pair_may_stay(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	unit_wrap(&u, map, bad_map);
	batch_arm(-ENOMEM, 1);
	unit_pass(&u);
	s = unit_stats(&u);
	assert_int_equal(s.pages_shared, 1);
	assert_int_equal(s.pages_sharing, 0);
	unit_assert_page(ram, 1);
	unit_assert_page(ram + TF_PAGE, 1);
	unit_wrap(&u, map, tf_os_linux.map);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).pages_sharing, 1);
	unit_close(&u);
}

/* Without protection the kernel copies on write: left alone until written. */
static void unprotected_frames_are_cow(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = batch_open(&u, &ram);
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).pages_shared, 1);
	unit_fill(ram + 2 * TF_PAGE, 1);
	unit_pass(&u);
	unit_wrap(&u, uffd_protect, bad_protect);
	batch_arm(-ENOMEM, 1);
	unit_pass(&u);
	batch_fault.left = 0;
	assert_int_equal(unit_state(&u, ram + 2 * TF_PAGE), TF_FRAME_COW);
	assert_int_equal(unit_guest_stats(g).pages_cow, 1);
	unit_assert_page(ram + 2 * TF_PAGE, 1);
	unit_fill(ram + 2 * TF_PAGE, 5); /* does not sleep */
	unit_assert_page(ram, 1);
	unit_passes(&u, 3);
	unit_assert_page(ram + 2 * TF_PAGE, 5);
	unit_close(&u);
}

static void unknown_copies_are_cow(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	u.e->marker = 0; /* as without CAP_SYS_ADMIN */
	unit_wrap(&u, advise, bad_policy_advise);
	batch_arm(-EFAULT, 2);
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).pages_cow, 2);
	assert_int_equal(unit_stats(&u).pages_shared, 0);
	unit_fill(ram, 7);
	unit_assert_page(ram + TF_PAGE, 1);
	unit_check(&u);
	unit_close(&u);
}

static void a_failed_zero_page_is_put_back(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	unit_passes(&u, 1); /* arms the block: its holes are plugged */
	unit_fill(ram + 2 * TF_PAGE, 0);
	unit_pass(&u);
	unit_wrap(&u, uffd_zeropage, bad_zeropage);
	batch_arm(-ENOMEM, 1);
	assert_int_equal(unit_pass(&u).zero_merged, 0);
	unit_assert_fresh(&u, ram + 2 * TF_PAGE);
	unit_assert_page(ram + 2 * TF_PAGE, 0);
	assert_int_equal(unit_stats(&u).zero_pages, 0);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).zero_pages, 1);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_write_undoes_the_pair),
		cmocka_unit_test(a_short_write_undoes_what_it_left_out),
		cmocka_unit_test(a_failed_map_is_made_good),
		cmocka_unit_test(half_a_pair_may_stay),
		cmocka_unit_test(unprotected_frames_are_cow),
		cmocka_unit_test(unknown_copies_are_cow),
		cmocka_unit_test(a_failed_zero_page_is_put_back),
	};

	return unit_run(tests);
}
