/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathered memory is as it was before it merged: flags, memory policy,
 * accounting and name.
 */
#include <linux/mempolicy.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/unit_gather.h"

struct look {
	char flags[128];
	int mode;
	unsigned long nodes[16];
};

/* Flags "um", "uw" are the engine's own, "sd" every new mapping has. */
static struct look look_at(const char *page)
{
	struct look l = { .mode = -1 };

	unit_flags(page, "um uw sd ", l.flags);
	syscall(SYS_get_mempolicy, &l.mode, l.nodes, 1024ul, page,
		(unsigned long)MPOL_F_ADDR);
	return l;
}

/* Merge, write, gather: every page looks as before. */
static void gather_and_look(struct unit *u, char *ram)
{
	struct tf_guest *g = unit_guest(u, NULL);
	struct look before = look_at(ram);

	unit_slot(g, 0, 0, ram, GATHER_BYTES);
	gather_fill_halves(ram);
	unit_passes(u, 2);
	assert_int_equal(unit_guest_stats(g).pages_merged, GATHER_PAGES);
	gather_write_all(ram, GATHER_PAGES);
	gather_await(u, GATHER_PAGES);
	for (unsigned i = 0; i < GATHER_PAGES; i++) {
		struct look l = look_at(ram + i * TF_PAGE);

		assert_string_equal(l.flags, before.flags);
		assert_int_equal(l.mode, before.mode);
		assert_memory_equal(l.nodes, before.nodes, sizeof(l.nodes));
	}
	gather_assert_one_mapping(u, ram, GATHER_PAGES);
	unit_assert_run(ram, GATHER_PAGES, GATHER_FRESH(0));
}

/* An engine, and RAM that is no memslot yet. */
static char *open_plain(struct unit *u)
{
	unit_init(u);
	u->opts.smart_scan = 0;
	unit_open(u);
	return unit_ram(u, GATHER_BYTES);
}

static void attributes_survive(void **state)
{
	static const int advices[] = {
		MADV_NORMAL, MADV_DONTFORK,   MADV_DONTDUMP,  MADV_NOHUGEPAGE,
		MADV_RANDOM, MADV_SEQUENTIAL, MADV_MERGEABLE, MADV_HUGEPAGE,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(advices) / sizeof(*advices); i++) {
		struct unit u;
		char *ram = open_plain(&u);

		/* One that this kernel does not know leaves plain memory. */
		madvise(ram, GATHER_BYTES, advices[i]);
		gather_and_look(&u, ram);
		unit_close(&u);
	}
}

static void memory_policy_survives(void **state)
{
	static const int modes[] = { MPOL_BIND, MPOL_PREFERRED,
				     MPOL_INTERLEAVE };

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		unsigned long nodes = 1;
		struct unit u;
		char *ram = open_plain(&u);

		if (syscall(SYS_mbind, ram, GATHER_BYTES, modes[i], &nodes,
			    64ul, 0)) {
			unit_close(&u);
			unit_skip("this kernel has no memory policies");
		}
		gather_and_look(&u, ram);
		unit_close(&u);
	}
}

/* Counted memory, all flags at once, and a name. */
static void accounting_and_name_survive(void **state)
{
	struct unit u;
	char *ram = open_plain(&u);
	bool named;

	(void)state;
	assert_ptr_equal(mmap(ram, GATHER_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 ram);
	assert_int_equal(madvise(ram, GATHER_BYTES, MADV_DONTFORK), 0);
	assert_int_equal(madvise(ram, GATHER_BYTES, MADV_DONTDUMP), 0);
	named = !syscall(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, ram,
			 GATHER_BYTES, "guest ram");
	gather_and_look(&u, ram);
	if (named)
		assert_int_equal(unit_smaps(ram, "[anon:guest ram]"), 0);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attributes_survive),
		cmocka_unit_test(memory_policy_survives),
		cmocka_unit_test(accounting_and_name_survive),
	};

	return unit_run(tests);
}
