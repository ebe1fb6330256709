/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walker in both modes: what is populated, what was written, and no page
 * tables for holes.
 */
#include "engine/walker.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define TIB (UINT64_C(1) << 40)

static struct tf_region *open_region(struct unit *u, enum tf_scan_mode mode,
				     size_t bytes, char **ram)
{
	unit_init(u);
	u->opts.scan_mode = mode;
	unit_open(u);
	if (mode == TF_SCAN_AUTO && !u->e->scan_dirty) {
		unit_close(u);
		unit_skip("this kernel has no PAGEMAP_SCAN");
	}
	*ram = unit_ram(u, bytes);
	unit_slot(unit_guest(u, NULL), 0, 0, *ram, bytes);
	return u->e->regions[0];
}

/* Walk all of it; the number of pages found. */
static long walk(struct tf_region *r)
{
	char *at = r->start;
	long pages = 0;

	while (at < r->end) {
		long n = tf_walk(r, at, r->end, &at);

		assert_true(n >= 0);
		pages += n;
	}
	return pages;
}

static bool found(const struct tf_region *r, unsigned page)
{
	struct tf_block *b = tf_block_find(r, page / TF_BLOCK_PAGES);

	return b && tf_bit(&b->written, page % TF_BLOCK_PAGES);
}

static void forget(struct tf_region *r)
{
	struct tf_block *b;

	for (uint64_t no = 0; (b = tf_block_next(r, no)); no = b->no + 1ul)
		tf_bits_zero(&b->written);
}

static void finds_populated_pages(enum tf_scan_mode mode)
{
	struct tf_region *r;
	struct unit u;
	char *ram;

	r = open_region(&u, mode, 4 * TF_BLOCK_BYTES, &ram);
	assert_int_equal(walk(r), 0);
	assert_int_equal(r->nblocks, 0);
	ram[0] = 1;
	ram[5 * TF_PAGE] = 1;
	ram[(2 * 512 + 511) * TF_PAGE] = 1;
	assert_int_equal(walk(r), 3);
	assert_int_equal(r->nblocks, 2);
	assert_true(found(r, 0) && found(r, 5) && found(r, 1535));
	assert_false(found(r, 1) || found(r, 1534));
	unit_close(&u);
}

static void dirty_mode_finds_populated_pages(void **state)
{
	(void)state;
	finds_populated_pages(TF_SCAN_AUTO);
}

static void hash_mode_finds_populated_pages(void **state)
{
	(void)state;
	finds_populated_pages(TF_SCAN_HASH);
}

static void dirty_mode_reports_writes_once(void **state)
{
	struct tf_region *r;
	struct unit u;
	char *ram;

	(void)state;
	r = open_region(&u, TF_SCAN_AUTO, TF_BLOCK_BYTES, &ram);
	for (unsigned i = 0; i < 100; i++)
		ram[i * TF_PAGE] = 1;
	assert_int_equal(walk(r), 100);
	forget(r);
	assert_int_equal(walk(r), 0);
	ram[7 * TF_PAGE] = 2;
	(void)*(volatile char *)(ram + 8 * TF_PAGE);
	assert_int_equal(walk(r), 1);
	assert_true(found(r, 7));
	assert_false(found(r, 8));
	unit_close(&u);
}

static void hash_mode_reports_every_page_always(void **state)
{
	struct tf_region *r;
	struct unit u;
	char *ram;

	(void)state;
	r = open_region(&u, TF_SCAN_HASH, TF_BLOCK_BYTES, &ram);
	for (unsigned i = 0; i < 100; i++)
		ram[i * TF_PAGE] = 1;
	assert_int_equal(walk(r), 100);
	assert_int_equal(walk(r), 100);
	unit_close(&u);
}

/* A hole that was read shows the zero page: nothing to merge, not reported. */
static void dirty_mode_leaves_zero_pages_out(void **state)
{
	struct tf_region *r;
	struct unit u;
	char *ram;

	(void)state;
	r = open_region(&u, TF_SCAN_AUTO, TF_BLOCK_BYTES, &ram);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(*(volatile char *)(ram + i * TF_PAGE), 0);
	assert_int_equal(walk(r), 0);
	unit_close(&u);
}

/* More ranges than one call holds. */
static void scattered_pages_are_all_found(void **state)
{
	struct tf_region *r;
	struct unit u;
	char *ram;

	(void)state;
	r = open_region(&u, TF_SCAN_AUTO, 4 * TF_BLOCK_BYTES, &ram);
	for (unsigned i = 0; i < 2048; i += 2)
		ram[i * TF_PAGE] = 1;
	assert_int_equal(walk(r), 1024);
	for (unsigned i = 0; i < 2048; i++)
		assert_int_equal(found(r, i), i % 2 == 0);
	unit_close(&u);
}

static void holes_cost_no_page_tables(void **state)
{
	/* KiB; sanitizers have page tables of their own. */
	const unsigned long room = SANITIZED ? ULONG_MAX / 2 : 16;
	unsigned long before;
	struct tf_region *r;
	struct unit u;
	char *ram;

	(void)state;
	r = open_region(&u, TF_SCAN_AUTO, TIB, &ram);
	ram[TIB / 2] = 1;
	before = unit_status("VmPTE:");
	assert_int_equal(walk(r), 1);
	assert_int_equal(walk(r), 0);
	assert_true(unit_status("VmPTE:") <= before + room);
	unit_close(&u);
}

static long scan_fails(const struct tf_os *os, int fd, struct tf_scan *scan)
{
	(void)os;
	(void)fd;
	return scan->start == scan->end ? 0 : -ENOMEM;
}

static long read_fails(const struct tf_os *os, int fd, const void *addr,
		       uint64_t *entries, size_t n)
{
	(void)os;
	(void)fd;
	(void)addr;
	(void)entries;
	(void)n;
	return -EIO;
}

static void errors_end_the_pass(void **state)
{
	struct tf_pass p = { .size = sizeof(p) };
	struct unit u;
	char *ram;

	(void)state;
	open_region(&u, TF_SCAN_AUTO, TF_BLOCK_BYTES, &ram);
	unit_wrap(&u, pagemap_scan, scan_fails);
	assert_int_equal(tf_engine_pass(u.e, &p), -ENOMEM);
	assert_int_equal(unit_stats(&u).full_scans, 0);
	unit_wrap(&u, pagemap_scan, tf_os_linux.pagemap_scan);
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).full_scans, 1);
	unit_close(&u);
	open_region(&u, TF_SCAN_HASH, TF_BLOCK_BYTES, &ram);
	unit_wrap(&u, pagemap_read, read_fails);
	assert_int_equal(tf_engine_pass(u.e, &p), -EIO);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dirty_mode_finds_populated_pages),
		cmocka_unit_test(hash_mode_finds_populated_pages),
		cmocka_unit_test(dirty_mode_reports_writes_once),
		cmocka_unit_test(hash_mode_reports_every_page_always),
		cmocka_unit_test(dirty_mode_leaves_zero_pages_out),
		cmocka_unit_test(scattered_pages_are_all_found),
		cmocka_unit_test(holes_cost_no_page_tables),
		cmocka_unit_test(errors_end_the_pass),
	};

	return unit_run(tests);
}
