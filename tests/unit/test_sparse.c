/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 32 TiB of guest RAM with three pages in it: what is done costs what is
 * there, not what could be.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/region.h"
#include "lib/unit_world.h"

#define TIB (UINT64_C(1) << 40)
#define BYTES (32 * TIB)

/* Far from what is measured elsewhere; a walk by address takes hours. */
#define SANE_NS UINT64_C(2000000000)

struct sparse {
	struct unit u;
	struct tf_guest *g;
	char *page[3];
	uint64_t begin;
	unsigned long ptes;
};

static void sparse_open(struct sparse *s, enum tf_scan_mode mode)
{
	char *ram;

	unit_init(&s->u);
	s->u.opts.scan_mode = mode;
	s->u.opts.smart_scan = 0;
	unit_open(&s->u);
	if (!s->u.e->scan_dirty) {
		unit_close(&s->u);
		unit_skip("this kernel has no PAGEMAP_SCAN");
	}
	ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram == MAP_FAILED) {
		unit_close(&s->u);
		unit_skip("32 TiB cannot be mapped here");
	}
	s->u.ram[s->u.nrams++] = (struct unit_ram){ ram, BYTES };
	s->page[0] = ram;
	s->page[1] = ram + 11 * TIB + 5 * TF_PAGE;
	s->page[2] = ram + BYTES - TF_PAGE;
	for (int i = 0; i < 3; i++)
		unit_fill(s->page[i], 1);
	s->ptes = unit_status("VmPTE:");
	s->begin = tf_os_linux.now_ns(&tf_os_linux);
	s->g = unit_guest(&s->u, NULL);
	unit_slot(s->g, 0, 0, ram, BYTES);
}

static void sparse_close(struct sparse *s)
{
	uint64_t ns = tf_os_linux.now_ns(&tf_os_linux) - s->begin;

	for (int i = 0; i < 3; i++)
		unit_assert_page(s->page[i], 1);
	if (!SANITIZED)
		assert_true(unit_status("VmPTE:") <= s->ptes + 64);
	assert_true(ns < SANE_NS);
	unit_close(&s->u);
}

static void passes_and_unmerge(void **state)
{
	struct tf_stats st;
	struct sparse s;

	(void)state;
	sparse_open(&s, TF_SCAN_AUTO);
	unit_passes(&s.u, 3);
	st = unit_stats(&s.u);
	assert_int_equal(st.pages_shared, 1);
	assert_int_equal(st.pages_sharing, 2);
	assert_int_equal(s.u.e->regions[0]->nblocks, 3);
	assert_true(st.metadata_bytes < 4u << 20);
	assert_int_equal(tf_guest_unmerge(s.g, 0, BYTES), 0);
	assert_int_equal(unit_stats(&s.u).pages_shared, 0);
	for (int i = 0; i < 3; i++)
		unit_assert_fresh(&s.u, s.page[i]);
	sparse_close(&s);
}

static void removal(void **state)
{
	struct sparse s;

	(void)state;
	sparse_open(&s, TF_SCAN_AUTO);
	unit_passes(&s.u, 2);
	assert_int_equal(tf_guest_del_memslot(s.g, 0), 0);
	assert_int_equal(s.u.e->blocks.live, 0);
	sparse_close(&s);
}

static void discard_of_a_part(void **state)
{
	struct sparse s;

	(void)state;
	sparse_open(&s, TF_SCAN_AUTO);
	unit_passes(&s.u, 2);
	assert_int_equal(tf_guest_discard(s.g, TIB, 20 * TIB), 0);
	unit_assert_page(s.page[1], 0);
	unit_fill(s.page[1], 1);
	assert_int_equal(unit_stats(&s.u).pages_sharing, 1);
	unit_passes(&s.u, 2);
	assert_int_equal(unit_stats(&s.u).pages_sharing, 2);
	sparse_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_and_unmerge),
		cmocka_unit_test(removal),
		cmocka_unit_test(discard_of_a_part),
	};

	return unit_run(tests);
}
