/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of each sharer of a lost page: moved, moved late, never moved,
 * or no sharer any more because it was written.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "lib/unit_ras_seam.h"

#define SEED 7

/* Two refusals: of the move, and of putting back what was there. */
static void a_sharer_that_moves_later(void **state)
{
	struct unit_ras w;
	struct tf_stats s;

	(void)state;
	ras_seam_open(&w, 16, 32);
	ras_seam.victim = ras_page(&w, 0);
	ras_lose(&w, 0);
	atomic_store(&ras_seam.map_fails, 2);
	unit_assert_page(ras_page(&w, 0), SEED);
	ras_assert_all(&w);
	assert_int_equal(atomic_load(&ras_seam.map_fails), 0);
	s = unit_stats(&w.u);
	ras_assert_no_vmce(&w);
	assert_int_equal(s.heals, 1);
	assert_int_equal(s.quarantined, 1);
	assert_int_equal(ras_events(&w, TF_RAS_PRIVATE), 0);
	unit_check(&w.u);
	ras_close(&w);
}

/* It is told, once; the others never hear of it. */
static void a_sharer_that_never_moves(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, 16, 32);
	assert_int_equal(ras_dup(&w, 0), ras_dup(&w, 1));
	ras_seam.victim = ras_page(&w, 1);
	ras_lose(&w, 0);
	atomic_store(&ras_seam.map_fails, 1000);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	ras_settle(&w);
	atomic_store(&ras_seam.map_fails, 0);
	for (unsigned i = 0; i < 32; i++)
		if (i != 1)
			unit_assert_page(ras_page(&w, i), SEED);
	ras_assert_told(&w, 1, 1);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	unit_check(&w.u);
	assert_int_equal(tf_guest_discard(w.g, TF_PAGE, TF_PAGE), 0);
	unit_assert_page(ras_page(&w, 1), 0);
	ras_close(&w);
}

static void written_pages_keep_their_bytes(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	unit_fill(ras_page(&w, 3), 103);
	ras_page(&w, 5)[9] ^= 1;
	ras_lose(&w, 0);
	unit_assert_page(ras_page(&w, 3), 103);
	ras_page(&w, 5)[9] ^= 1;
	for (unsigned i = 0; i < 32; i++)
		unit_assert_page(ras_page(&w, i), i == 3 ? 103 : SEED);
	ras_assert_no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

static int protect_refused(const struct tf_os *os, int uffd, void *addr,
			   size_t len, bool on)
{
	if (on && ras_seam.e && uffd == ras_seam.e->uffd_merged &&
	    (char *)addr == ras_seam.victim)
		return -ENOMEM;
	return tf_os_linux.uffd_protect(os, uffd, addr, len, on);
}

/* Page 0 is a COW frame; the last page is alone in its mapping. */
static void open_cow(struct unit_ras *w)
{
	ras_init(w, 16);
	ras_seam_set(w);
	w->u.os.uffd_protect = protect_refused;
	ras_open(w, 34);
	ras_seam.e = w->u.e;
	ras_seam.victim = w->ram;
	for (unsigned i = 0; i < 34; i++)
		if (i != 1) /* its run is one page, one protection */
			unit_fill(ras_page(w, i), SEED);
		else
			unit_fill(ras_page(w, i), 99);
	unit_passes(&w->u, 4);
	assert_int_equal(unit_state(&w->u, w->ram), TF_FRAME_COW);
}

static unsigned page_of_same_dup(struct unit_ras *w)
{
	uint32_t dup = unit_spot(&w->u, w->ram).was.shared.dup;

	for (unsigned i = 2; i < w->pages; i++)
		if (ras_dup(w, i) == dup)
			return i;
	fail_msg("nobody shares it");
	return 0;
}

static void a_written_cow_frame_is_its_own(void **state)
{
	struct unit_ras w;

	(void)state;
	open_cow(&w);
	unit_fill(w.ram, 55);
	ras_lose(&w, page_of_same_dup(&w));
	unit_assert_page(w.ram, 55);
	for (unsigned i = 2; i < 34; i++)
		unit_assert_page(ras_page(&w, i), SEED);
	unit_assert_page(w.ram, 55);
	ras_assert_no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

/* The kernel has not copied it: its page is the lost slot's. */
static void an_unwritten_cow_frame_heals(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	open_cow(&w);
	ras_lose(&w, page_of_same_dup(&w));
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	unit_assert_page(w.ram, SEED);
	for (unsigned i = 2; i < 34; i++)
		unit_assert_page(ras_page(&w, i), SEED);
	unit_fill(w.ram, 55);
	unit_assert_page(w.ram, 55);
	ras_assert_no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

/* Nobody has touched it when its memory is un-registered. */
static void an_unwritten_cow_frame_of_a_memslot_that_goes(void **state)
{
	struct unit_ras w;

	(void)state;
	open_cow(&w);
	ras_seam.victim = w.ram; /* it stays COW */
	ras_lose(&w, page_of_same_dup(&w));
	ras_seam.victim = NULL;
	if (unit_state(&w.u, w.ram) == TF_FRAME_COW)
		madvise(w.ram, TF_PAGE, MADV_DONTNEED);
	assert_int_equal(tf_guest_del_memslot(w.g, 0), 0);
	tf_ras_uninstall(w.u.e);
	unit_assert_page(w.ram, SEED);
	for (unsigned i = 2; i < 34; i++)
		unit_assert_page(ras_page(&w, i), SEED);
	ras_close(&w);
}

/* Its dup is healed already when it is touched, as after a real fault, which
 * takes frames that are in no list. */
static void a_cow_frame_that_was_forgotten_heals(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;
	unsigned same;

	(void)state;
	open_cow(&w);
	same = page_of_same_dup(&w);
	ras_seam.victim = w.ram; /* it cannot be protected: it stays COW */
	ras_lose(&w, same);
	for (unsigned i = 2; i < 34; i++)
		unit_assert_page(ras_page(&w, i), SEED);
	ras_settle(&w);
	ras_seam.victim = NULL;
	if (unit_state(&w.u, w.ram) == TF_FRAME_COW)
		madvise(w.ram, TF_PAGE, MADV_DONTNEED);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	unit_assert_page(w.ram, SEED);
	ras_assert_no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

/* Nobody touches it: it is healed with the others, and theirs is the only
 * error. */
static void a_cow_frame_heals_with_the_others(void **state)
{
	struct unit_ras w;
	unsigned same;

	(void)state;
	open_cow(&w);
	same = page_of_same_dup(&w);
	ras_lose(&w, same);
	ras_seam.victim = NULL;
	if (unit_state(&w.u, w.ram) == TF_FRAME_COW)
		madvise(w.ram, TF_PAGE, MADV_DONTNEED);
	unit_assert_page(ras_page(&w, same), SEED);
	ras_settle(&w);
	assert_int_equal(unit_state(&w.u, w.ram), TF_FRAME_SHARED);
	assert_int_equal(unit_stats(&w.u).pages_cow, 0);
	assert_int_equal(unit_stats(&w.u).quarantined, 1);
	unit_assert_page(w.ram, SEED);
	ras_assert_no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

/* Two refusals, of the move: what was there is put back. Nobody may see it. */
static long map_never(const struct tf_os *os, void *addr, size_t len, int prot,
		      int flags, int fd, uint64_t off)
{
	if (addr && addr == ras_seam.victim && fd >= 0 &&
	    off != ras_seam.fresh_off)
		return -ENOMEM;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static void lost_bytes_are_never_seen(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, 16, 32);
	ras_lose(&w, 0);
	ras_seam.fresh_off = (uint64_t)ras_slot(&w, 0) * TF_PAGE;
	unit_wrap(&w.u, write_at, tf_os_linux.write_at);
	unit_wrap(&w.u, map, map_never);
	ras_seam.victim = ras_page(&w, 1);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	ras_settle(&w);
	ras_seam.victim = NULL;
	ras_assert_told(&w, 1, 1);
	unit_assert_page(ras_page(&w, 1), SEED); /* traps, and heals now */
	unit_check(&w.u);
	ras_close(&w);
}

/* Whoever was healed is told so, whatever becomes of the others. */
static void the_event_is_about_the_page_that_was_hit(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, 16, 32);
	ras_lose(&w, 0);
	ras_seam.fresh_off = (uint64_t)ras_slot(&w, 0) * TF_PAGE;
	unit_wrap(&w.u, write_at, tf_os_linux.write_at);
	unit_wrap(&w.u, map, map_never);
	ras_seam.victim = ras_page(&w, 1);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	assert_int_equal(ras_events(&w, TF_RAS_PRIVATE), 0);
	ras_seam.victim = NULL;
	ras_close(&w);
}

/* The engine's own look at the slot announces it again: nothing is left to be
 * healed there. */
static void a_dup_without_sharers_is_not_healed(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, 16, 32);
	ras_lose(&w, 0);
	ras_seam.victim = ras_page(&w, 1);
	atomic_store(&ras_seam.map_fails, 1000);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	ras_settle(&w);
	atomic_store(&ras_seam.map_fails, 0);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).heals_fresh_copy, 1);
	ras_close(&w);
}

static char *other_victim;

/* Page 0 moves late, another one never. */
static long map_two(const struct tf_os *os, void *addr, size_t len, int prot,
		    int flags, int fd, uint64_t off)
{
	if (addr && addr == other_victim && fd >= 0)
		return -ENOMEM;
	return ras_seam_map(os, addr, len, prot, flags, fd, off);
}

static void a_late_mover_is_told_it_was_healed(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, 16, 32);
	ras_lose(&w, 0);
	ras_seam.victim = ras_page(&w, 0);
	other_victim = ras_page(&w, 1);
	unit_wrap(&w.u, map, map_two);
	atomic_store(&ras_seam.map_fails, 2);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	ras_settle(&w);
	other_victim = NULL;
	unit_assert_page(w.ram, SEED);
	ras_assert_told(&w, 1, 1);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	ras_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sharer_that_moves_later),
		cmocka_unit_test(a_sharer_that_never_moves),
		cmocka_unit_test(written_pages_keep_their_bytes),
		cmocka_unit_test(a_written_cow_frame_is_its_own),
		cmocka_unit_test(an_unwritten_cow_frame_heals),
		cmocka_unit_test(an_unwritten_cow_frame_of_a_memslot_that_goes),
		cmocka_unit_test(a_cow_frame_that_was_forgotten_heals),
		cmocka_unit_test(a_cow_frame_heals_with_the_others),
		cmocka_unit_test(lost_bytes_are_never_seen),
		cmocka_unit_test(the_event_is_about_the_page_that_was_hit),
		cmocka_unit_test(a_dup_without_sharers_is_not_healed),
		cmocka_unit_test(a_late_mover_is_told_it_was_healed),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
