/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What merges with what: twins, runs, zeros, domains, policies, chains. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/chain.h"
#include "lib/unit_world.h"

#define PAGES 64u

static void twins_share_and_keep_their_bytes(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	unit_assert_run(ram, PAGES / 2, 1);
	unit_assert_run(ram + PAGES / 2 * TF_PAGE, PAGES / 2, 1);
	assert_int_equal(unit_stats(&u).pages_shared, PAGES / 2);
	assert_int_equal(unit_stats(&u).pages_sharing, PAGES / 2);
	assert_int_equal(unit_guest_stats(g).pages_seen, PAGES);
	unit_check(&u);
	unit_close(&u);
}

/* Neighbours get neighbouring slots: two runs are two or three mappings. */
static void runs_become_few_mappings(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = 1; i < PAGES / 2; i++) {
		const char *page = ram + i * TF_PAGE;

		assert_int_equal(unit_dup(&u, page).slot,
				 unit_dup(&u, page - TF_PAGE).slot + 1);
	}
	assert_true(unit_stats(&u).vmas <= 4);
	unit_close(&u);
}

static void later_twins_join(void **state)
{
	struct tf_pass p;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 2);
	unit_fill(ram + 9 * TF_PAGE, 1);
	unit_pass(&u);
	p = unit_pass(&u);
	assert_int_equal(p.merged, 1);
	assert_int_equal(p.promoted, 0);
	assert_int_equal(unit_stats(&u).pages_sharing, 2);
	unit_close(&u);
}

static void zero_pages_need_no_store(void **state)
{
	struct tf_guest *g;
	struct tf_pass p;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, PAGES, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, 0);
	unit_pass(&u);
	p = unit_pass(&u);
	assert_int_equal(p.zero_merged, PAGES);
	assert_int_equal(p.merged, 0);
	assert_int_equal(unit_guest_stats(g).zero_pages, PAGES);
	assert_int_equal(unit_stats(&u).vmas, 0);
	assert_int_equal(unit_store_blocks(u.e), 0);
	assert_int_equal(unit_smaps(ram, "Anonymous:"), 0);
	unit_assert_page(ram, 0);
	ram[5] = 1; /* memory like any other */
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).zero_pages, PAGES - 1);
	assert_int_equal(ram[5], 1);
	unit_close(&u);
}

static void zero_pages_may_be_shared_like_others(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.use_zero_pages = 0;
	unit_open(&u);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, PAGES * TF_PAGE);
	for (unsigned i = 0; i < 8; i++)
		unit_fill(ram + i * TF_PAGE, 0);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).zero_pages, 0);
	assert_int_equal(unit_stats(&u).pages_sharing, 7);
	unit_assert_page(ram, 0);
	unit_close(&u);
}

/* Two guests with one equal page each, under the given domains. */
static uint64_t sharing_between(const char *a, const char *b)
{
	struct unit u;
	uint64_t sharing;
	char *ram;

	unit_init(&u);
	unit_open(&u);
	ram = unit_ram(&u, 2 * PAGES * TF_PAGE);
	unit_slot(unit_guest(&u, a), 0, 0, ram, PAGES * TF_PAGE);
	unit_slot(unit_guest(&u, b), 0, 0, ram + PAGES * TF_PAGE,
		  PAGES * TF_PAGE);
	unit_fill(ram, 1);
	unit_fill(ram + PAGES * TF_PAGE, 1);
	unit_passes(&u, 3);
	sharing = unit_stats(&u).pages_sharing;
	unit_assert_page(ram, 1);
	unit_assert_page(ram + PAGES * TF_PAGE, 1);
	unit_close(&u);
	return sharing;
}

static void only_equal_trust_domains_share(void **state)
{
	(void)state;
	assert_int_equal(sharing_between("a", "a"), 1);
	assert_int_equal(sharing_between("a", "b"), 0);
	assert_int_equal(sharing_between(NULL, NULL), 0);
	assert_int_equal(sharing_between(NULL, "a"), 0);
	assert_int_equal(sharing_between(NULL, ""), 0);
}

static void different_policies_do_not_share(void **state)
{
	const size_t half = PAGES / 2 * TF_PAGE;
	unsigned long nodes = 1;
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	ram = unit_ram(&u, 2 * half);
	if (syscall(SYS_mbind, ram, half, MPOL_BIND, &nodes, 64ul, 0)) {
		unit_close(&u);
		unit_skip("this kernel has no memory policies");
	}
	g = unit_guest(&u, NULL);
	unit_slot(g, 0, 0, ram, half);
	unit_slot(g, 1, half, ram + half, half);
	unit_fill(ram, 1);
	unit_fill(ram + half, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).pages_sharing, 0);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).pages_sharing, 1);
	unit_close(&u);
}

static void chains_grow_at_max_page_sharing(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.max_page_sharing = 4;
	u.opts.smart_scan = 0;
	unit_open(&u);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, PAGES * TF_PAGE);
	for (unsigned i = 0; i < 18; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	unit_passes(&u, 2);
	s = unit_stats(&u);
	assert_int_equal(s.pages_shared, 5);
	assert_int_equal(s.pages_sharing, 13);
	assert_int_equal(s.chains, 1);
	assert_int_equal(s.chain_dups, 4);
	assert_int_equal(s.pages_recoverable, 18);
	assert_int_equal(unit_store_blocks(u.e), 5 * 8);
	unit_close(&u);
}

/* Dups go with their last sharer, and their bytes with the next pass. */
static void empty_dups_are_pruned_and_punched(void **state)
{
	uint64_t blocks;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.max_page_sharing = 2;
	u.opts.smart_scan = 0;
	unit_open(&u);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, PAGES * TF_PAGE);
	for (unsigned i = 0; i < 10; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).chain_dups, 4);
	blocks = unit_store_blocks(u.e);
	for (unsigned i = 0; i < 10; i += 2)
		unit_fill(ram + i * TF_PAGE, 100 + i);
	unit_check(&u);
	for (unsigned i = 1; i < 10; i += 2)
		unit_fill(ram + i * TF_PAGE, 100 + i);
	assert_int_equal(unit_stats(&u).chains, 0);
	assert_int_equal(unit_stats(&u).chain_dups, 0);
	unit_pass(&u);
	assert_int_equal(unit_store_blocks(u.e), blocks - 10 / 2 * 8);
	for (unsigned i = 0; i < 10; i++)
		unit_assert_page(ram + i * TF_PAGE, 100 + i);
	unit_close(&u);
}

static long move_is_busy(const struct tf_os *os, int uffd, void *to, void *from,
			 size_t len)
{
	(void)os;
	(void)uffd;
	(void)to;
	(void)from;
	(void)len;
	return -EBUSY;
}

static void busy_pages_wait_and_merge_later(void **state)
{
	struct tf_pass p;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_pass(&u);
	unit_wrap(&u, uffd_move, move_is_busy);
	p = unit_pass(&u);
	assert_int_equal(p.merged, 0);
	assert_int_equal(p.busy, 2);
	assert_int_equal(unit_stats(&u).fence_busy, 2);
	unit_assert_fresh(&u, ram);
	unit_assert_fresh(&u, ram + TF_PAGE);
	unit_wrap(&u, uffd_move, tf_os_linux.uffd_move);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_SHARED);
	unit_close(&u);
}

/* Blocks do not begin where memslots do: every shape still merges. */
static void unaligned_memslots_merge_to_their_ends(void **state)
{
	const unsigned n = 2 * TF_BLOCK_PAGES - 7;
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	ram = unit_ram(&u, 2 * TF_BLOCK_BYTES) + 3 * TF_PAGE;
	g = unit_guest(&u, NULL);
	unit_slot(g, 0, 0x5000, ram, n * TF_PAGE);
	for (unsigned i = 0; i < n; i++)
		unit_fill(ram + i * TF_PAGE, 1 + i % 4);
	unit_passes(&u, 3);
	assert_int_equal(unit_guest_stats(g).pages_merged, n);
	for (unsigned i = 0; i < n; i++)
		unit_assert_page(ram + i * TF_PAGE, 1 + i % 4);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(twins_share_and_keep_their_bytes),
		cmocka_unit_test(runs_become_few_mappings),
		cmocka_unit_test(later_twins_join),
		cmocka_unit_test(zero_pages_need_no_store),
		cmocka_unit_test(zero_pages_may_be_shared_like_others),
		cmocka_unit_test(only_equal_trust_domains_share),
		cmocka_unit_test(different_policies_do_not_share),
		cmocka_unit_test(chains_grow_at_max_page_sharing),
		cmocka_unit_test(empty_dups_are_pruned_and_punched),
		cmocka_unit_test(busy_pages_wait_and_merge_later),
		cmocka_unit_test(unaligned_memslots_merge_to_their_ends),
	};

	return unit_run(tests);
}
