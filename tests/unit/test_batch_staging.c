/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fenced pages that are not what they were, cannot be read, or cannot go home
 * from the staging area: they are put back, copied, or lost and nothing else.
 */
#include <errno.h>

#include "lib/unit_batch.h"

static int bad_equal(const struct tf_os *os, const void *a, const void *b,
		     size_t len)
{
	return batch_fails() ? batch_fault.err :
			       tf_os_linux.equal(os, a, b, len);
}

static int poisoned;

static int note_poison(const struct tf_os *os, int uffd, void *addr, size_t len)
{
	(void)os;
	(void)uffd;
	(void)addr;
	(void)len;
	poisoned++;
	return 0;
}

static void a_page_that_changed_is_put_back(void **state)
{
	struct tf_pass p;
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	unit_wrap(&u, equal, bad_equal);
	batch_arm(0, 1);
	p = unit_pass(&u);
	assert_int_equal(p.changed, 2);
	assert_int_equal(unit_stats(&u).fence_changed, 2);
	batch_assert_undone(&u, ram);
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
	g = batch_open(&u, &ram);
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
	batch_open(&u, &ram);
	unit_wrap(&u, equal, bad_equal);
	batch_arm(-EHWPOISON, 1);
	assert_int_equal(unit_pass(&u).busy, 2);
	batch_assert_undone(&u, ram);
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
	return batch_fails() ? batch_fault.err :
			       tf_os_linux.copy(os, to, from, len);
}

static void a_page_that_will_not_go_home_is_copied(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	unit_wrap(&u, equal, bad_equal);
	unit_wrap(&u, uffd_move, move_out_only);
	moves = 0;
	batch_arm(0, 1);
	unit_pass(&u);
	batch_assert_undone(&u, ram);
}

/* Neither moved nor read: its address is poisoned, and the log says so. */
static void a_page_lost_in_staging_is_poisoned(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	batch_open(&u, &ram);
	unit_wrap(&u, equal, bad_equal);
	unit_wrap(&u, copy, bad_copy);
	unit_wrap(&u, uffd_move, move_out_only);
	poisoned = 0;
	unit_wrap(&u, uffd_poison, note_poison);
	moves = 0;
	batch_arm(-EHWPOISON, 100);
	unit_pass(&u);
	assert_int_equal(poisoned, 2);
	assert_true(unit_log_has(&u, "gpa 0x1000 lost to a memory error"));
	batch_fault.left = 0;
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_that_changed_is_put_back),
		cmocka_unit_test(a_pair_that_changed_alike_is_put_back),
		cmocka_unit_test(a_page_that_cannot_be_read_is_put_back),
		cmocka_unit_test(a_page_that_will_not_go_home_is_copied),
		cmocka_unit_test(a_page_lost_in_staging_is_poisoned),
	};

	return unit_run(tests);
}
