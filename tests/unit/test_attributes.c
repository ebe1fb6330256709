/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariant 8: what a mapping looks like survives every remap. A merged frame
 * is a mapping of the store's file. What such a mapping cannot carry is the
 * name of anonymous memory; "mg" is ignored there by the kernel, and "ac"
 * (counted memory) cannot be had back where the embedder switched it off. The
 * userfaultfd flags "um" and "uw" are the engine's own; "sd" (soft dirty) is
 * set on every new mapping.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/unit_world.h"

#define PAGES 16u
#define BYTES (PAGES * TF_PAGE)
#define OURS "um uw sd "
#define OURS_MERGED OURS "mg ac "

struct look {
	char flags[128];
	int mode;
	unsigned long nodes[16];
};

static struct look look_at(const char *page, const char *without)
{
	struct look l = { .mode = -1 };

	unit_flags(page, without, l.flags);
	assert_int_equal(syscall(SYS_get_mempolicy, &l.mode, l.nodes, 1024ul,
				 page, (unsigned long)MPOL_F_ADDR),
			 0);
	return l;
}

/* Pages [from, to) look like `before`. */
static void assert_looks(const char *ram, unsigned from, unsigned to,
			 const struct look *before, const char *without)
{
	for (unsigned i = from; i < to; i++) {
		struct look l = look_at(ram + i * TF_PAGE, without);

		assert_string_equal(l.flags, before->flags);
		assert_int_equal(l.mode, before->mode);
		assert_memory_equal(l.nodes, before->nodes, sizeof(l.nodes));
	}
}

/* Merge, then leave the shared state in every way, looking at each step. */
static void walk_all_ways(struct unit *u, char *ram)
{
	struct look before = look_at(ram, OURS);
	struct look before_merged = look_at(ram, OURS_MERGED);
	struct tf_guest *g = unit_guest(u, NULL);

	unit_slot(g, 0, 0, ram, BYTES);
	unit_fill_run(ram, PAGES / 2, 1);
	unit_fill_run(ram + BYTES / 2, PAGES / 2, 1);
	unit_passes(u, 3);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	assert_looks(ram, 0, PAGES, &before_merged, OURS_MERGED);
	ram[0]++; /* a break by a write */
	assert_looks(ram, 0, 1, &before, OURS);
	assert_int_equal(tf_guest_unmerge(g, TF_PAGE, 3 * TF_PAGE), 0);
	assert_looks(ram, 0, 4, &before, OURS);
	assert_int_equal(tf_guest_discard(g, 4 * TF_PAGE, 2 * TF_PAGE), 0);
	assert_looks(ram, 0, 6, &before, OURS);
	unit_assert_page(ram + 4 * TF_PAGE, 0);
	assert_int_equal(tf_guest_pin(g, 6 * TF_PAGE, TF_PAGE), 0);
	assert_looks(ram, 0, 7, &before, OURS);
	assert_int_equal(tf_guest_unpin(g, 6 * TF_PAGE, TF_PAGE), 0);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_looks(ram, 0, PAGES, &before, OURS);
	unit_assert_page(ram + 7 * TF_PAGE, 8);
	tf_guest_destroy(g);
}

static void try_advice(int advice)
{
	struct unit u;
	char *ram;

	unit_init(&u);
	u.opts.smart_scan = 0;
	unit_open(&u);
	ram = unit_ram(&u, BYTES);
	if (advice >= 0 && madvise(ram, BYTES, advice)) {
		unit_close(&u);
		unit_skip("this kernel does not know an madvise() flag");
	}
	walk_all_ways(&u, ram);
	unit_close(&u);
}

#define ADVICE_TEST(name, advice)                                              \
	static void name(void **state)                                         \
	{                                                                      \
		(void)state;                                                   \
		try_advice(advice);                                            \
	}

ADVICE_TEST(keeps_noreserve, -1)
ADVICE_TEST(keeps_dontfork, MADV_DONTFORK)
ADVICE_TEST(keeps_dontdump, MADV_DONTDUMP)
ADVICE_TEST(keeps_nohugepage, MADV_NOHUGEPAGE)
ADVICE_TEST(keeps_hugepage, MADV_HUGEPAGE)
ADVICE_TEST(keeps_mergeable, MADV_MERGEABLE)
ADVICE_TEST(keeps_random, MADV_RANDOM)
ADVICE_TEST(keeps_sequential, MADV_SEQUENTIAL)

/* unit_ram() maps NORESERVE; this memory is counted. */
static void keeps_accounting(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.smart_scan = 0;
	unit_open(&u);
	ram = unit_ram(&u, BYTES);
	assert_ptr_equal(mmap(ram, BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 ram);
	walk_all_ways(&u, ram);
	unit_close(&u);
}

static void keeps_all_at_once(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.smart_scan = 0;
	unit_open(&u);
	ram = unit_ram(&u, BYTES);
	assert_int_equal(madvise(ram, BYTES, MADV_DONTFORK), 0);
	assert_int_equal(madvise(ram, BYTES, MADV_DONTDUMP), 0);
	assert_int_equal(madvise(ram, BYTES, MADV_RANDOM), 0);
	walk_all_ways(&u, ram);
	unit_close(&u);
}

static void keeps_its_name(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.smart_scan = 0;
	unit_open(&u);
	ram = unit_ram(&u, BYTES);
	if (syscall(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, ram, BYTES,
		    "guest ram")) {
		unit_close(&u);
		unit_skip("this kernel has no names for anonymous memory");
	}
	walk_all_ways(&u, ram);
	assert_int_equal(unit_smaps(ram, "[anon:guest ram]"), 0);
	unit_close(&u);
}

static void try_policy(int mode)
{
	unsigned long nodes = 1;
	struct unit u;
	char *ram;

	unit_init(&u);
	u.opts.smart_scan = 0;
	unit_open(&u);
	ram = unit_ram(&u, BYTES);
	if (syscall(SYS_mbind, ram, BYTES, mode, &nodes, 64ul, 0)) {
		unit_close(&u);
		unit_skip("this kernel has no memory policies");
	}
	walk_all_ways(&u, ram);
	unit_close(&u);
}

#define POLICY_TEST(name, mode)                                                \
	static void name(void **state)                                         \
	{                                                                      \
		(void)state;                                                   \
		try_policy(mode);                                              \
	}

POLICY_TEST(keeps_bind, MPOL_BIND)
POLICY_TEST(keeps_preferred, MPOL_PREFERRED)
POLICY_TEST(keeps_interleave, MPOL_INTERLEAVE)
POLICY_TEST(keeps_bind_static, MPOL_BIND | MPOL_F_STATIC_NODES)

/* Two policies in one memslot: only one could be put back. */
static void two_policies_are_two_memslots(void **state)
{
	unsigned long nodes = 1;
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	ram = unit_ram(&u, BYTES);
	if (syscall(SYS_mbind, ram + BYTES / 2, BYTES / 2, MPOL_BIND, &nodes,
		    64ul, 0)) {
		unit_close(&u);
		unit_skip("this kernel has no memory policies");
	}
	g = unit_guest(&u, NULL);
	assert_int_equal(tf_guest_add_memslot(g, 0, 0, ram, BYTES),
			 -EOPNOTSUPP);
	assert_true(unit_log_has(&u, "memslot of its own"));
	unit_slot(g, 0, 0, ram, BYTES / 2);
	unit_slot(g, 1, BYTES / 2, ram + BYTES / 2, BYTES / 2);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_noreserve),
		cmocka_unit_test(keeps_dontfork),
		cmocka_unit_test(keeps_dontdump),
		cmocka_unit_test(keeps_nohugepage),
		cmocka_unit_test(keeps_hugepage),
		cmocka_unit_test(keeps_mergeable),
		cmocka_unit_test(keeps_random),
		cmocka_unit_test(keeps_sequential),
		cmocka_unit_test(keeps_accounting),
		cmocka_unit_test(keeps_all_at_once),
		cmocka_unit_test(keeps_its_name),
		cmocka_unit_test(keeps_bind),
		cmocka_unit_test(keeps_preferred),
		cmocka_unit_test(keeps_interleave),
		cmocka_unit_test(keeps_bind_static),
		cmocka_unit_test(two_policies_are_two_memslots),
	};

	return unit_run(tests);
}
