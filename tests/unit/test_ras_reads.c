/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each way in which the engine reads guest memory or a slot, with a page that
 * is lost at that very moment: all is rolled back, no counter has moved but
 * those of the loss, and whatever has a source is healed.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/unit_ras.h"
#include "tests/lib/poison_seam.h"

#define SEED 7

static struct fates fates;
static atomic_uint refuse_writes;
static long (*write_below)(const struct tf_os *os, int fd, const void *buf,
			   size_t len, uint64_t off);

static long write_refused(const struct tf_os *os, int fd, const void *buf,
			  size_t len, uint64_t off)
{
	return atomic_load(&refuse_writes) ? -EIO :
					     write_below(os, fd, buf, len, off);
}

static void open_world(struct unit_ras *w, unsigned max, unsigned copies,
		       unsigned pages)
{
	memset(&fates, 0, sizeof(fates));
	atomic_store(&refuse_writes, 0);
	poison_seam_init(&fates);
	poison_seam.only_it = true;
	write_below = poison_seam.os.write_at;
	ras_init(w, max);
	w->u.os = poison_seam.os;
	w->u.os.write_at = write_refused;
	w->u.opts.min_copies = copies;
	w->u.opts.copy_sharers = 4;
	ras_open(w, pages);
	poison_seam_begin(w->u.e);
	fates.guests[0].bank = w->ram;
}

static void close_world(struct unit_ras *w)
{
	poison_seam_disarm();
	poison_seam_check(w->u.e, "at the end");
	poison_seam_end();
	ras_close(w);
}

/* At the call after `before` others of its kind. */
static void lose_at(enum poison_point point, unsigned before)
{
	poison_seam.fired[point] = 0;
	poison_seam_arm(point, before, 1, 1);
}

static void assert_lost(enum poison_point point)
{
	poison_seam_disarm();
	assert_int_equal(poison_seam.fired[point], 1);
}

/* Which page of the guest has no source; there is one. */
static unsigned doomed_page(const struct unit_ras *w)
{
	unsigned found = w->pages;

	for (unsigned i = 0; i < w->pages; i++) {
		if (atomic_load(&fates.fate[0][i]) < FATE_EITHER)
			continue;
		assert_int_equal(found, w->pages);
		found = i;
	}
	assert_int_not_equal(found, w->pages);
	return found;
}

/* ---- reads of guest memory ---- */

/* Two equal halves. The lost page and its twin do not merge, all others do.
 * The guest is told of the lost one, once. */
static void guest_read(enum poison_point point, bool refuse)
{
	struct unit_ras w;
	struct tf_stats s;
	unsigned lost;

	open_world(&w, 256, 1, 10);
	unit_fill(ras_page(&w, 8), SEED);
	unit_fill(ras_page(&w, 9), SEED);
	unit_passes(&w.u, 3); /* fences are shut in this block from now on */
	unit_fill_run(w.ram, 4, 1);
	unit_fill_run(ras_page(&w, 4), 4, 1);
	unit_pass(&w.u);
	atomic_store(&refuse_writes, refuse);
	lose_at(point, 0);
	unit_pass(&w.u);
	assert_lost(point);
	atomic_store(&refuse_writes, 0);
	unit_passes(&w.u, 4);
	lost = doomed_page(&w);
	ras_touch(ras_page(&w, lost));
	ras_assert_told(&w, lost, 1);
	s = unit_stats(&w.u);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	assert_int_equal(s.pages_shared, 4);
	assert_int_equal(s.pages_sharing, 4);
	assert_int_equal(s.chains, 4);
	assert_int_equal(s.vmces, 1);
	assert_int_equal(s.quarantined + s.heals, 0);
	for (unsigned i = 0; i < 8; i++)
		unit_assert_page(ras_page(&w, i), i == lost ? 0 : 1 + i % 4);
	close_world(&w);
}

static void the_settling_hash(void **state)
{
	(void)state;
	guest_read(POINT_HASH_GUEST, false);
}

static void the_way_to_the_fence(void **state)
{
	(void)state;
	guest_read(POINT_MOVE_OUT, false);
}

static void the_comparison_of_a_pair(void **state)
{
	(void)state;
	guest_read(POINT_EQUAL, false);
}

static void the_promotion(void **state)
{
	(void)state;
	guest_read(POINT_PROMOTE, false);
}

static void the_way_home(void **state)
{
	(void)state;
	guest_read(POINT_MOVE_BACK, true);
}

static void the_copy_that_goes_home(void **state)
{
	(void)state;
	guest_read(POINT_COPY_BACK, true);
}

/* The page that was to have the second copy is lost on its way there. */
static void the_second_copy(void **state)
{
	struct unit_ras w;
	unsigned lost;

	(void)state;
	open_world(&w, 256, 2, 12);
	unit_fill_run(w.ram, 12, 100);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 3);
	assert_int_equal(unit_stats(&w.u).chain_dups, 0);
	unit_fill(ras_page(&w, 5), SEED);
	unit_pass(&w.u);
	lose_at(POINT_PROMOTE, 0);
	unit_pass(&w.u);
	assert_lost(POINT_PROMOTE);
	lost = doomed_page(&w);
	assert_int_equal(lost, 5);
	ras_touch(ras_page(&w, lost));
	ras_assert_told(&w, lost, 1);
	assert_int_equal(unit_stats(&w.u).chain_dups, 0);
	assert_int_equal(unit_stats(&w.u).quarantined, 0);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 4);
	for (unsigned i = 0; i < 4; i++)
		unit_assert_page(ras_page(&w, i), SEED);
	close_world(&w);
}

/* One of the pages that are gathered. */
static void gathering(void **state)
{
	struct unit_ras w;
	unsigned lost;

	(void)state;
	open_world(&w, 16, 1, 32);
	ras_merge_all(&w);
	for (unsigned i = 0; i < 16; i++)
		unit_fill(ras_page(&w, i), 100 + i);
	lose_at(POINT_MOVE_BACK, 0);
	unit_passes(&w.u, 12);
	assert_lost(POINT_MOVE_BACK);
	lost = doomed_page(&w);
	ras_touch(ras_page(&w, lost));
	ras_assert_told(&w, lost, 1);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 16);
	for (unsigned i = 0; i < 32; i++)
		unit_assert_page(ras_page(&w, i), i == lost ? 0 :
						  i < 16    ? 100 + i :
							      SEED);
	close_world(&w);
}

/* ---- reads of slots ---- */

static void look_at_all(struct unit_ras *w)
{
	ras_assert_all(w);
	ras_settle(w);
	ras_assert_all(w);
	ras_assert_no_vmce(w);
	assert_int_equal(unit_guest_stats(w->g).pages_merged, w->pages);
}

/* Three full dups, and the slot of one is lost. While it heals, another page
 * is lost at a `point`: the donor, or the fresh copy. */
static void healing_read(enum poison_point point, unsigned before)
{
	struct unit_ras w;
	struct tf_stats s;

	open_world(&w, 16, 1, 48);
	ras_merge_all(&w);
	assert_int_equal(poison_seam_inject(w.u.e, w.g, 0, w.ram), 0);
	lose_at(point, before);
	unit_assert_page(w.ram, SEED);
	ras_settle(&w);
	assert_lost(point);
	look_at_all(&w);
	s = unit_stats(&w.u);
	assert_int_equal(s.quarantined, 2);
	assert_int_equal(s.pages_recoverable, 48);
	close_world(&w);
}

static void the_hash_of_a_donor(void **state)
{
	(void)state;
	healing_read(POINT_HASH_SLOT, 0);
}

static void the_hash_of_a_fresh_copy(void **state)
{
	(void)state;
	healing_read(POINT_HASH_SLOT, 1);
}

static void the_copy_of_a_donor(void **state)
{
	(void)state;
	healing_read(POINT_DONOR, 0);
}

static void the_copy_that_sharers_move_to(void **state)
{
	(void)state;
	healing_read(POINT_MAP, 0);
	healing_read(POINT_PROTECT, 0);
	healing_read(POINT_MAP, 5);
}

/* The slot of a page that is written. */
static void the_copy_of_a_break(void **state)
{
	struct unit_ras w;

	(void)state;
	open_world(&w, 16, 1, 32);
	ras_merge_all(&w);
	lose_at(POINT_COPY, 0);
	ras_page(&w, 3)[9] ^= 1;
	assert_lost(POINT_COPY);
	ras_page(&w, 3)[9] ^= 1;
	ras_settle(&w);
	ras_assert_all(&w);
	ras_assert_no_vmce(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).quarantined, 1);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 31);
	close_world(&w);
}

/* It heals first, and then goes on. */
static void unmerging(void **state)
{
	struct unit_ras w;

	(void)state;
	open_world(&w, 16, 1, 32);
	ras_merge_all(&w);
	lose_at(POINT_COPY, 0);
	if (tf_guest_unmerge(w.g, 0, 32 * TF_PAGE)) {
		unit_check(&w.u);
		ras_settle(&w);
		assert_int_equal(tf_guest_unmerge(w.g, 0, 32 * TF_PAGE), 0);
	}
	assert_lost(POINT_COPY);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 0);
	ras_assert_all(&w);
	ras_assert_no_vmce(&w);
	close_world(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_settling_hash),
		cmocka_unit_test(the_way_to_the_fence),
		cmocka_unit_test(the_comparison_of_a_pair),
		cmocka_unit_test(the_promotion),
		cmocka_unit_test(the_way_home),
		cmocka_unit_test(the_copy_that_goes_home),
		cmocka_unit_test(the_second_copy),
		cmocka_unit_test(gathering),
		cmocka_unit_test(the_hash_of_a_donor),
		cmocka_unit_test(the_hash_of_a_fresh_copy),
		cmocka_unit_test(the_copy_of_a_donor),
		cmocka_unit_test(the_copy_that_sharers_move_to),
		cmocka_unit_test(the_copy_of_a_break),
		cmocka_unit_test(unmerging),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
