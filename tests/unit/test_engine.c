/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Creation and end of engines, and kernels that can do less. */
#include <errno.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define PAGES 16u

static void null_is_fine(void **state)
{
	(void)state;
	tf_engine_destroy(NULL);
}

/* The end needs no memory: pages stay copy-on-write, and keep their bytes. */
static void the_end_keeps_every_byte(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	tf_engine_destroy(u.e);
	u.e = NULL;
	unit_assert_run(ram, PAGES / 2, 1);
	unit_fill(ram, 9);
	unit_assert_page(ram, 9);
	unit_assert_page(ram + PAGES / 2 * TF_PAGE, 1);
	unit_assert_run(ram + TF_PAGE, PAGES / 2 - 1, 2);
	unit_close(&u);
}

static void a_guest_may_end_with_its_engine(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	unit_guest(&u, "a");
	unit_guest(&u, NULL);
	assert_int_equal(tf_engine_start(u.e), 0);
	unit_close(&u);
}

static void two_engines_do_not_meet(void **state)
{
	struct unit a, b;
	char *x, *y;

	(void)state;
	unit_merged(&a, PAGES, &x);
	unit_merged(&b, PAGES, &y);
	assert_int_equal(unit_stats(&a).pages_sharing, PAGES / 2);
	assert_int_equal(unit_stats(&b).pages_sharing, PAGES / 2);
	unit_fill(x, 7);
	assert_int_equal(unit_stats(&a).breaks, 1);
	assert_int_equal(unit_stats(&b).breaks, 0);
	unit_fill(y, 8);
	assert_int_equal(unit_stats(&b).breaks, 1);
	unit_passes(&a, 2);
	unit_assert_page(x, 7);
	unit_assert_page(y, 8);
	unit_assert_page(x + PAGES / 2 * TF_PAGE, 1);
	unit_check(&b);
	tf_engine_destroy(b.e);
	unit_unmap(&b, y);
	unit_assert_run(x + TF_PAGE, PAGES / 2 - 1, 2);
	unit_close(&a); /* looks for what either left */
}

static int open_err;
static enum tf_uffd_kind open_kind;

static int open_fails(const struct tf_os *os, enum tf_uffd_kind kind)
{
	return kind == open_kind ? open_err : tf_os_linux.uffd_open(os, kind);
}

/* The engine takes memslots, merges nothing, and says so. */
static void assert_idle(struct unit *u, const char *words)
{
	struct tf_guest *g;
	char *ram;

	unit_open(u);
	assert_true(unit_log_has(u, "nothing will be merged"));
	assert_true(unit_log_has(u, words));
	assert_int_equal(unit_stats(u).can_merge, 0);
	ram = unit_ram(u, PAGES * TF_PAGE);
	g = unit_guest(u, NULL);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(u, 3);
	assert_int_equal(unit_stats(u).pages_shared, 0);
	assert_int_equal(tf_guest_pin(g, 0, TF_PAGE), 0);
	assert_int_equal(tf_guest_unpin(g, 0, TF_PAGE), 0);
	assert_int_equal(tf_guest_unmerge(g, 0, TF_PAGE), 0);
	assert_int_equal(tf_guest_discard(g, 0, TF_PAGE), 0);
	unit_assert_page(ram, 0);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	unit_close(u);
}

static void assert_useless(enum tf_uffd_kind kind, int err, const char *words)
{
	struct unit u;

	unit_init(&u);
	unit_wrap(&u, uffd_open, open_fails);
	open_kind = kind;
	open_err = err;
	assert_idle(&u, words);
}

static int one_err;

static int no_pagemap(const struct tf_os *os)
{
	(void)os;
	return one_err;
}

/* As a confined process is: guests without an engine would not even heal. */
static void processes_without_pagemap_merge_nothing(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	one_err = -EACCES;
	unit_wrap(&u, pagemap_open, no_pagemap);
	assert_idle(&u, "/proc/self/pagemap");
}

static void kernels_without_move_merge_nothing(void **state)
{
	(void)state;
	assert_useless(TF_UFFD_GUEST, -EOPNOTSUPP, "UFFDIO_MOVE");
}

static void processes_without_the_right_merge_nothing(void **state)
{
	(void)state;
	assert_useless(TF_UFFD_GUEST, -EPERM, "/dev/userfaultfd");
	assert_useless(TF_UFFD_MERGED, -EACCES, "/dev/userfaultfd");
	assert_useless(TF_UFFD_OURS, -EPERM, "/dev/userfaultfd");
}

static void want_of_descriptors_is_an_error(void **state)
{
	const enum tf_uffd_kind kinds[] = { TF_UFFD_GUEST, TF_UFFD_MERGED,
					    TF_UFFD_OURS };
	const int errors[] = { -EMFILE, -ENFILE, -ENOMEM };
	struct unit u;

	(void)state;
	unit_init(&u);
	unit_wrap(&u, uffd_open, open_fails);
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 3; i++) {
			open_kind = kinds[k];
			open_err = errors[i];
			assert_int_equal(tf_engine_create_os(&u.opts, &u.os,
							     &u.e),
					 open_err);
			assert_null(u.e);
		}
	unit_close(&u);
}

static int no_eventfd(const struct tf_os *os)
{
	(void)os;
	return one_err;
}

static long no_map(const struct tf_os *os, void *addr, size_t len, int prot,
		   int flags, int fd, uint64_t off)
{
	(void)os;
	(void)addr;
	(void)len;
	(void)prot;
	(void)flags;
	(void)fd;
	(void)off;
	return one_err;
}

static void failed_creations_leave_nothing(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	one_err = -EMFILE;
	unit_wrap(&u, eventfd, no_eventfd);
	assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e), -EMFILE);
	unit_wrap(&u, eventfd, tf_os_linux.eventfd);
	unit_wrap(&u, pagemap_open, no_pagemap);
	assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e), -EMFILE);
	unit_wrap(&u, pagemap_open, tf_os_linux.pagemap_open);
	one_err = -ENOMEM;
	unit_wrap(&u, map, no_map);
	assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e), -ENOMEM);
	assert_null(u.e);
	unit_close(&u);
}

static long no_scan(const struct tf_os *os, int fd, struct tf_scan *scan)
{
	(void)os;
	(void)fd;
	(void)scan;
	return -ENOTTY;
}

static void old_kernels_hash_unless_told_otherwise(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	unit_wrap(&u, pagemap_scan, no_scan);
	u.opts.scan_mode = TF_SCAN_DIRTY;
	assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e),
			 -EOPNOTSUPP);
	assert_true(unit_log_has(&u, "use AUTO"));
	u.opts.scan_mode = TF_SCAN_AUTO;
	unit_open(&u);
	assert_int_equal(unit_stats(&u).scan_dirty, 0);
	assert_true(unit_log_has(&u, "hash every page"));
	unit_close(&u);
}

static void the_scan_mode_is_said(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	u.opts.scan_mode = TF_SCAN_DIRTY;
	if (tf_engine_create_os(&u.opts, &u.os, &u.e) == -EOPNOTSUPP)
		unit_skip("this kernel has no PAGEMAP_SCAN");
	assert_true(unit_log_has(&u, "written-since tracking"));
	assert_int_equal(unit_stats(&u).scan_dirty, 1);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(null_is_fine),
		cmocka_unit_test(the_end_keeps_every_byte),
		cmocka_unit_test(a_guest_may_end_with_its_engine),
		cmocka_unit_test(two_engines_do_not_meet),
		cmocka_unit_test(kernels_without_move_merge_nothing),
		cmocka_unit_test(processes_without_the_right_merge_nothing),
		cmocka_unit_test(processes_without_pagemap_merge_nothing),
		cmocka_unit_test(want_of_descriptors_is_an_error),
		cmocka_unit_test(failed_creations_leave_nothing),
		cmocka_unit_test(old_kernels_hash_unless_told_otherwise),
		cmocka_unit_test(the_scan_mode_is_said),
	};

	return unit_run(tests);
}
