/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A half-done merge undone: one call of the kernel seam fails while a batch
 * runs. No byte is lost, the frames are as just seen, and they merge later.
 */
#include "engine/batch.h"

#include <errno.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define PAGES 16u

/* What a case breaks; the engine under test runs in this thread alone. */
static struct {
	int err;
	unsigned left; /* so many more calls fail */
	int poisoned;
} fault;

static bool fails(void)
{
	if (!fault.left)
		return false;
	fault.left--;
	return true;
}

static int bad_equal(const struct tf_os *os, const void *a, const void *b,
		     size_t len)
{
	return fails() ? fault.err : tf_os_linux.equal(os, a, b, len);
}

static long bad_write(const struct tf_os *os, int fd, const void *buf,
		      size_t len, uint64_t off)
{
	return fails() ? fault.err :
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
	if (fd >= 0 && (flags & MAP_PRIVATE) && fails()) {
		munmap(addr, len);
		return fault.err;
	}
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

/* The same, but the old mapping stays. */
static long refused_map(const struct tf_os *os, void *addr, size_t len,
			int prot, int flags, int fd, uint64_t off)
{
	if (fd >= 0 && (flags & MAP_PRIVATE) && fails())
		return fault.err;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static int bad_protect(const struct tf_os *os, int uffd, void *addr, size_t len,
		       bool on)
{
	return on && fails() ?
		       fault.err :
		       tf_os_linux.uffd_protect(os, uffd, addr, len, on);
}

static long bad_zeropage(const struct tf_os *os, int uffd, void *addr,
			 size_t len)
{
	return fails() ? fault.err :
			 tf_os_linux.uffd_zeropage(os, uffd, addr, len);
}

static int bad_policy_advise(const struct tf_os *os, void *addr, size_t len,
			     int advice)
{
	if (advice == TF_POPULATE_READ && fails())
		return fault.err;
	return tf_os_linux.advise(os, addr, len, advice);
}

static int note_poison(const struct tf_os *os, int uffd, void *addr, size_t len)
{
	(void)os;
	(void)uffd;
	(void)addr;
	(void)len;
	fault.poisoned++;
	return 0;
}

/* Two equal pages that wait; the next pass makes a pair of them. */
static struct tf_guest *two_waiting(struct unit *u, char **ram)
{
	struct tf_guest *g;

	unit_init(u);
	u->opts.smart_scan = 0;
	unit_open(u);
	g = unit_guest(u, NULL);
	*ram = unit_ram(u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, *ram, PAGES * TF_PAGE);
	unit_fill(*ram, 1);
	unit_fill(*ram + TF_PAGE, 1);
	unit_pass(u);
	fault.left = 0;
	fault.poisoned = 0;
	return g;
}

static void arm_fault(int err, unsigned times)
{
	fault.err = err;
	fault.left = times;
}

/* The calls that cases of this file break are the kernel's again. */
static void mend(struct unit *u)
{
	unit_wrap(u, equal, tf_os_linux.equal);
	unit_wrap(u, copy, tf_os_linux.copy);
	unit_wrap(u, write_at, tf_os_linux.write_at);
	unit_wrap(u, map, tf_os_linux.map);
	unit_wrap(u, uffd_move, tf_os_linux.uffd_move);
}

/* The pass that failed is over: nothing is shared, nothing is lost. */
static void assert_undone(struct unit *u, char *ram)
{
	assert_int_equal(unit_stats(u).pages_shared, 0);
	assert_int_equal(unit_stats(u).pages_cow, 0);
	unit_assert_fresh(u, ram);
	unit_assert_fresh(u, ram + TF_PAGE);
	unit_assert_page(ram, 1);
	unit_assert_page(ram + TF_PAGE, 1);
	fault.left = 0;
	mend(u);
	unit_assert_waits_a_pass(u, ram);
	unit_assert_page(ram, 1);
	assert_int_equal(unit_state(u, ram + TF_PAGE), TF_FRAME_SHARED);
	unit_close(u);
}

static void a_page_that_changed_is_put_back(void **state)
{
	struct tf_pass p;
	struct unit u;
	char *ram;

	(void)state;
	two_waiting(&u, &ram);
	unit_wrap(&u, equal, bad_equal);
	arm_fault(0, 1);
	p = unit_pass(&u);
	assert_int_equal(p.changed, 2);
	assert_int_equal(unit_stats(&u).fence_changed, 2);
	assert_undone(&u, ram);
}

/* Pages that are written between the hash and the fence. */
static struct {
	char *page;
	unsigned n;
} rewritten;

static long write_and_move(const struct tf_os *os, int uffd, void *to,
			   void *from, size_t len)
{
	while (rewritten.n)
		unit_fill(rewritten.page + --rewritten.n * TF_PAGE, 2);
	return tf_os_linux.uffd_move(os, uffd, to, from, len);
}

/* The same in both, but not what was hashed: a copy under that hash would keep
 * pages apart that are equal. */
static void a_pair_that_changed_alike_is_put_back(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = two_waiting(&u, &ram);
	rewritten.page = ram;
	rewritten.n = 2;
	unit_wrap(&u, uffd_move, write_and_move);
	unit_pass(&u);
	assert_int_equal(rewritten.n, 0);
	unit_wrap(&u, uffd_move, tf_os_linux.uffd_move);
	unit_fill(ram + 2 * TF_PAGE, 1);
	unit_fill(ram + 3 * TF_PAGE, 1);
	unit_passes(&u, 4);
	assert_int_equal(unit_guest_stats(g).pages_merged, 4);
	assert_int_equal(unit_stats(&u).pages_shared, 2);
	unit_assert_page(ram, 2);
	unit_assert_page(ram + TF_PAGE, 2);
	unit_assert_page(ram + 2 * TF_PAGE, 1);
	unit_assert_page(ram + 3 * TF_PAGE, 1);
	unit_close(&u);
}

static void a_page_that_cannot_be_read_is_put_back(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	two_waiting(&u, &ram);
	unit_wrap(&u, equal, bad_equal);
	arm_fault(-EHWPOISON, 1);
	assert_int_equal(unit_pass(&u).busy, 2);
	assert_undone(&u, ram);
}

static void a_failed_write_undoes_the_pair(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	two_waiting(&u, &ram);
	unit_wrap(&u, write_at, bad_write);
	arm_fault(-ENOSPC, 1);
	unit_pass(&u);
	assert_int_equal(unit_store_blocks(u.e), 0);
	assert_undone(&u, ram);
}

static void a_short_write_undoes_what_it_left_out(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	two_waiting(&u, &ram);
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
	two_waiting(&u, &ram);
	unit_wrap(&u, map, bad_map);
	arm_fault(-ENOMEM, 2);
	unit_pass(&u);
	assert_undone(&u, ram);
	two_waiting(&u, &ram);
	unit_wrap(&u, map, refused_map);
	arm_fault(-ENOMEM, 2);
	unit_pass(&u);
	assert_undone(&u, ram);
}

/* One half mapped, the other not: a dup with one sharer, which grows. */
static void half_a_pair_may_stay(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	two_waiting(&u, &ram);
	unit_wrap(&u, map, bad_map);
	arm_fault(-ENOMEM, 1);
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
	g = two_waiting(&u, &ram);
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).pages_shared, 1);
	unit_fill(ram + 2 * TF_PAGE, 1);
	unit_pass(&u);
	unit_wrap(&u, uffd_protect, bad_protect);
	arm_fault(-ENOMEM, 1);
	unit_pass(&u);
	fault.left = 0;
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
	two_waiting(&u, &ram);
	u.e->marker = 0; /* as without CAP_SYS_ADMIN */
	unit_wrap(&u, advise, bad_policy_advise);
	arm_fault(-EFAULT, 2);
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
	two_waiting(&u, &ram);
	unit_passes(&u, 1); /* arms the block: its holes are plugged */
	unit_fill(ram + 2 * TF_PAGE, 0);
	unit_pass(&u);
	unit_wrap(&u, uffd_zeropage, bad_zeropage);
	arm_fault(-ENOMEM, 1);
	assert_int_equal(unit_pass(&u).zero_merged, 0);
	unit_assert_fresh(&u, ram + 2 * TF_PAGE);
	unit_assert_page(ram + 2 * TF_PAGE, 0);
	assert_int_equal(unit_stats(&u).zero_pages, 0);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).zero_pages, 1);
	unit_close(&u);
}

static unsigned moves;

/* The page goes out but not home again. */
static long move_out_only(const struct tf_os *os, int uffd, void *to,
			  void *from, size_t len)
{
	if (moves++ < 1)
		return tf_os_linux.uffd_move(os, uffd, to, from, len);
	return -EFAULT;
}

static int bad_copy(const struct tf_os *os, void *to, const void *from,
		    size_t len)
{
	return fails() ? fault.err : tf_os_linux.copy(os, to, from, len);
}

static void a_page_that_will_not_go_home_is_copied(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	two_waiting(&u, &ram);
	unit_wrap(&u, equal, bad_equal);
	unit_wrap(&u, uffd_move, move_out_only);
	moves = 0;
	arm_fault(0, 1);
	unit_pass(&u);
	assert_undone(&u, ram);
}

/* Neither moved nor read: its address is poisoned, and the log says so. */
static void a_page_lost_in_staging_is_poisoned(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	two_waiting(&u, &ram);
	unit_wrap(&u, equal, bad_equal);
	unit_wrap(&u, copy, bad_copy);
	unit_wrap(&u, uffd_move, move_out_only);
	unit_wrap(&u, uffd_poison, note_poison);
	moves = 0;
	arm_fault(-EHWPOISON, 100);
	unit_pass(&u);
	assert_int_equal(fault.poisoned, 2);
	assert_true(unit_log_has(&u, "gpa 0x1000 lost to a memory error"));
	fault.left = 0;
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_that_changed_is_put_back),
		cmocka_unit_test(a_pair_that_changed_alike_is_put_back),
		cmocka_unit_test(a_page_that_cannot_be_read_is_put_back),
		cmocka_unit_test(a_failed_write_undoes_the_pair),
		cmocka_unit_test(a_short_write_undoes_what_it_left_out),
		cmocka_unit_test(a_failed_map_is_made_good),
		cmocka_unit_test(half_a_pair_may_stay),
		cmocka_unit_test(unprotected_frames_are_cow),
		cmocka_unit_test(unknown_copies_are_cow),
		cmocka_unit_test(a_failed_zero_page_is_put_back),
		cmocka_unit_test(a_page_that_will_not_go_home_is_copied),
		cmocka_unit_test(a_page_lost_in_staging_is_poisoned),
	};

	return unit_run(tests);
}
