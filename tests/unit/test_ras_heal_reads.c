/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Poison under each of the engine's own reads.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdatomic.h>

#include "engine/chain.h"
#include "lib/unit_ras_seam.h"

#define SEED 7

/* Reads that end with poison, as often as `read_fails` says. */
static atomic_uint read_fails;

static const char *read_page;

static int equal_poisoned(const struct tf_os *os, const void *a, const void *b,
			  size_t len)
{
	return ras_seam_take(&read_fails) ? -EHWPOISON :
					    tf_os_linux.equal(os, a, b, len);
}

static int copy_poisoned(const struct tf_os *os, void *to, const void *from,
			 size_t len)
{
	return ras_seam_take(&read_fails) ? -EHWPOISON :
					    tf_os_linux.copy(os, to, from, len);
}

static long move_refused(const struct tf_os *os, int uffd, void *to, void *from,
			 size_t len)
{
	if (read_page && (char *)to <= read_page &&
	    (char *)to + len > read_page)
		return -EFAULT;
	return tf_os_linux.uffd_move(os, uffd, to, from, len);
}

static void open_halves(struct unit_ras *w, unsigned pages)
{
	atomic_store(&read_fails, 0);
	read_page = NULL;
	ras_init(w, 256);
	ras_seam_set(w);
	w->u.os.equal = equal_poisoned;
	w->u.os.copy = copy_poisoned;
	w->u.os.uffd_move = move_refused;
	ras_open(w, pages);
	ras_seam.e = w->u.e;
	unit_fill_run(w->ram, pages / 2, 1);
	unit_fill_run(ras_page(w, pages / 2), pages / 2, 1);
}

static void assert_halves(struct unit_ras *w)
{
	unit_assert_run(w->ram, w->pages / 2, 1);
	unit_assert_run(ras_page(w, w->pages / 2), w->pages / 2, 1);
}

/* The comparison in the fence meets poison: all is as before, and it is tried
 * again. */
static void poison_in_a_comparison(void **state)
{
	struct tf_pass p;
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	atomic_store(&read_fails, 1);
	p = unit_pass(&w.u);
	assert_int_equal(p.merged, 6);
	assert_int_equal(atomic_load(&read_fails), 0);
	assert_halves(&w);
	assert_int_equal(unit_stats(&w.u).quarantined, 0);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	assert_halves(&w);
	ras_assert_no_vmce(&w);
	ras_close(&w);
}

static void poison_in_the_write_of_a_slot(void **state)
{
	struct tf_pass p;
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	atomic_store(&ras_seam.write_errno, EHWPOISON);
	p = unit_pass(&w.u);
	assert_int_equal(p.merged, 0);
	assert_int_equal(p.promoted, 0);
	assert_int_equal(unit_stats(&w.u).pages_shared, 0);
	assert_halves(&w);
	atomic_store(&ras_seam.write_errno, 0);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	assert_halves(&w);
	ras_assert_no_vmce(&w);
	ras_close(&w);
}

/* The slot cannot be read for a while: the writer waits, and writes. */
static void poison_in_the_copy_of_a_break(void **state)
{
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_passes(&w.u, 3);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	atomic_store(&read_fails, 5);
	unit_fill(w.ram, 50);
	assert_int_equal(atomic_load(&read_fails), 0);
	unit_assert_page(w.ram, 50);
	unit_fill(w.ram, 1);
	assert_halves(&w);
	ras_assert_no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

/* A staged page that neither goes home nor can be read: the guest's loss. */
static void poison_in_staging(void **state)
{
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	unit_wrap(&w.u, equal, tf_os_linux.equal);
	read_page = ras_page(&w, 2);
	atomic_store(&ras_seam.write_errno, EIO); /* nothing merges */
	atomic_store(&read_fails, 1);
	unit_pass(&w.u);
	assert_int_equal(atomic_load(&read_fails), 0);
	atomic_store(&ras_seam.write_errno, 0);
	read_page = NULL;
	ras_settle(&w);
	ras_assert_told(&w, 2, 1);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	for (unsigned i = 0; i < 8; i++)
		if (i != 2)
			unit_assert_page(ras_page(&w, i), 1 + i % 4);
	unit_check(&w.u);
	assert_int_equal(tf_guest_discard(w.g, 2 * TF_PAGE, TF_PAGE), 0);
	unit_assert_page(ras_page(&w, 2), 0);
	unit_fill(ras_page(&w, 2), 3);
	unit_passes(&w.u, 4);
	assert_halves(&w);
	ras_close(&w);
}

/* A newcomer is compared with a slot that is lost, which nobody has touched:
 * that finds it, and it heals. */
static void poison_in_the_slot_of_a_comparison(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 40);
	unit_fill(ras_page(&w, 0), 99);
	unit_passes(&w.u, 4);
	for (unsigned i = 1; i < 40; i++)
		if (ras_dup(&w, i) ==
		    tf_chain_pick(ras_store(&w),
				  tf_dup_get(w.u.e, ras_dup(&w, i))->hash)) {
			ras_lose(&w, i);
			break;
		}
	unit_fill(ras_page(&w, 0), SEED);
	unit_passes(&w.u, 4);
	ras_settle(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).quarantined, 1);
	unit_passes(&w.u, 4);
	ras_assert_all(&w);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 40);
	ras_assert_no_vmce(&w);
	ras_close(&w);
}

/* The settling pass hashes a lost page: it merges with nobody. */
static void poison_under_the_settling_hash(void **state)
{
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	ras_lose(&w, 1);
	unit_passes(&w.u, 2);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 6);
	ras_assert_told(&w, 1, 1);
	unit_check(&w.u);
	unit_assert_page(w.ram, 1);
	ras_close(&w);
}

/* One of the pages to be gathered is lost. */
static void poison_in_gathering(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	for (unsigned i = 0; i < 16; i++)
		unit_fill(ras_page(&w, i), 100 + i);
	ras_lose(&w, 8);
	unit_passes(&w.u, 12);
	ras_assert_told(&w, 8, 1);
	for (unsigned i = 0; i < 32; i++)
		if (i != 8)
			unit_assert_page(ras_page(&w, i),
					 i < 16 ? 100 + i : SEED);
	unit_check(&w.u);
	ras_close(&w);
}

/* The vMCE was taken, the guest leaves the page alone, the engine goes on
 * passing over it: it is told once. */
static void the_engine_finds_a_page_once(void **state)
{
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	ras_lose(&w, 1);
	unit_pass(&w.u);
	ras_assert_told(&w, 1, 1);
	unit_passes(&w.u, 4);
	ras_assert_told(&w, 0, 0);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	ras_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(poison_in_a_comparison),
		cmocka_unit_test(poison_in_the_write_of_a_slot),
		cmocka_unit_test(poison_in_the_copy_of_a_break),
		cmocka_unit_test(poison_in_staging),
		cmocka_unit_test(poison_in_the_slot_of_a_comparison),
		cmocka_unit_test(poison_under_the_settling_hash),
		cmocka_unit_test(poison_in_gathering),
		cmocka_unit_test(the_engine_finds_a_page_once),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
