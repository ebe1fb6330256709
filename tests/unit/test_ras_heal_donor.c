/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the bytes of a healed page come from: another copy, a fresh one, one
 * that is lost in turn, or none.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdatomic.h>

#include "engine/store.h"
#include "lib/unit_ras_seam.h"

#define SEED 7

/* Both copies are gone: every sharer is told, once. */
static void both_copies_lost(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;
	unsigned other;

	(void)state;
	ras_chain(&w, 16, 32);
	other = ras_page_beside(&w, ras_dup(&w, 0), 0);
	ras_lose(&w, 0);
	ras_lose(&w, other);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	ras_assert_told(&w, 0, 32);
	assert_int_equal(unit_stats(&w.u).quarantined, 2);
	assert_int_equal(unit_stats(&w.u).heals, 0);
	unit_check(&w.u);
	assert_int_equal(tf_guest_discard(w.g, 0, 32 * TF_PAGE), 0);
	for (unsigned i = 0; i < 32; i++)
		unit_assert_page(ras_page(&w, i), 0);
	ras_close(&w);
}

static void a_third_copy_heals_both(void **state)
{
	struct unit_ras w;
	struct tf_stats s;
	uint32_t first;
	unsigned other;

	(void)state;
	ras_chain(&w, 16, 48);
	first = ras_dup(&w, 0);
	other = ras_page_beside(&w, first, 0);
	ras_lose(&w, 0);
	ras_lose(&w, other);
	ras_assert_all(&w);
	ras_assert_no_vmce(&w);
	s = unit_stats(&w.u);
	assert_int_equal(s.heals, 2);
	assert_int_equal(s.heals_fresh_copy, 2);
	assert_int_equal(s.quarantined, 2);
	unit_check(&w.u);
	ras_close(&w);
}

struct second {
	struct unit_ras *w;
	unsigned page;
	bool fresh; /* of the copy that is being filled instead */
};

static void *lose_another(void *arg)
{
	struct second *s = arg;
	int err = tf_ras_inject(s->w->u.e, s->w->g, s->page * TF_PAGE,
				TF_INJECT_SIM);

	atomic_fetch_sub(&s->w->u.e->urgent, 1);
	return err ? s : NULL;
}

static void join_other(void)
{
	void *failed = &failed;

	pthread_join(ras_seam.thread, &failed);
	assert_null(failed);
}

/* The donor goes at a stop point, with half of the sharers moved. */
static void the_donor_is_lost_while_healing(void **state)
{
	struct second second;
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, 48, 96);
	second = (struct second){
		.w = &w, .page = ras_page_beside(&w, ras_dup(&w, 0), 0)
	};
	ras_seam.other = lose_another;
	ras_seam.other_arg = &second;
	ras_lose(&w, 0);
	atomic_store(&ras_seam.nth, 8);
	unit_assert_page(w.ram, SEED);
	ras_settle(&w);
	join_other();
	ras_assert_all(&w);
	ras_assert_no_vmce(&w);
	assert_int_equal(unit_stats(&w.u).heals, 2);
	unit_check(&w.u);
	ras_close(&w);
}

/* One after the other, the place of each being full with the donor's. */
static void copies_are_lost_as_they_are_mapped(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, 96, 192);
	ras_lose(&w, 0);
	atomic_store(&ras_seam.lose_mapped, 6);
	unit_assert_page(w.ram, SEED);
	ras_settle(&w);
	assert_int_equal(atomic_load(&ras_seam.lose_mapped), 0);
	ras_assert_no_vmce(&w);
	ras_assert_all(&w);
	assert_int_equal(unit_stats(&w.u).quarantined, 7);
	unit_check(&w.u);
	ras_close(&w);
}

/* Nobody has touched the lost one when the other copy's last sharer is
 * written. */
static void the_last_copy_outlives_its_sharers(void **state)
{
	struct unit_ras w;
	uint32_t good;
	unsigned other;

	(void)state;
	ras_chain(&w, 16, 32);
	other = ras_page_beside(&w, ras_dup(&w, 0), 0);
	good = ras_dup(&w, other);
	ras_lose(&w, 0);
	ras_thin_out(&w, good, 1);
	unit_fill(ras_page(&w, other), 100 + other);
	ras_settle(&w);
	for (unsigned i = 0; i < 32; i++) {
		bool is = unit_state(&w.u, ras_page(&w, i)) != TF_FRAME_SHARED;

		unit_assert_page(ras_page(&w, i), is ? 100 + i : SEED);
	}
	ras_assert_no_vmce(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).pages_shared, 1);
	assert_int_equal(unit_stats(&w.u).chain_dups, 0);
	unit_check(&w.u);
	ras_close(&w);
}

/* Two dups, the one of 16 sharers with room for eight more; `*lost` shares
 * the other. */
static void open_with_room(struct unit_ras *w, unsigned *lost)
{
	uint32_t full;

	ras_seam_open(w, 16, 20);
	full = ras_dup(w, 0);
	if (ras_sharers(w, full) < 16)
		full = ras_dup(w, ras_page_beside(w, full, 0));
	*lost = ras_page_beside(w, full, 0);
	ras_thin_out(w, full, 8);
}

static void assert_kept(struct unit_ras *w)
{
	unsigned broken = 0;

	for (unsigned i = 0; i < w->pages; i++) {
		bool is = unit_state(&w->u, ras_page(w, i)) != TF_FRAME_SHARED;

		unit_assert_page(ras_page(w, i), is ? 100 + i : SEED);
		broken += is;
	}
	assert_int_equal(broken, 8);
}

/* `err`: of the write to the new slot. 0: it works, but its page is lost, the
 * thread's that was hit, and the healer's. */
static void heal_to_existing_dup(int err)
{
	struct unit_ras w;
	struct tf_stats s;
	unsigned lost;

	open_with_room(&w, &lost);
	ras_lose(&w, lost);
	atomic_store(&ras_seam.write_errno, (unsigned)err);
	atomic_store(&ras_seam.lose_fresh, !err);
	unit_assert_page(ras_page(&w, lost), SEED);
	ras_settle(&w);
	assert_kept(&w);
	atomic_store(&ras_seam.write_errno, 0);
	atomic_store(&ras_seam.lose_fresh, false);
	s = unit_stats(&w.u);
	ras_assert_no_vmce(&w);
	assert_int_equal(s.heals, 1);
	assert_int_equal(s.heals_fresh_copy, 0);
	assert_int_equal(s.heals_existing_dup, 1);
	assert_int_equal(s.quarantined, err ? 1 : 3);
	assert_int_equal(s.chain_dups, 0);
	unit_check(&w.u);
	ras_close(&w);
}

static void a_lost_fresh_copy_is_not_used(void **state)
{
	(void)state;
	heal_to_existing_dup(0);
}

static void no_slot_can_be_had(void **state)
{
	(void)state;
	heal_to_existing_dup(ENOSPC);
}

static void a_slot_that_cannot_be_written(void **state)
{
	(void)state;
	heal_to_existing_dup(EIO);
}

static void healing_needs_no_budget(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 64);
	pthread_mutex_lock(&w.u.e->lock);
	w.u.e->vma_budget = 0;
	pthread_mutex_unlock(&w.u.e->lock);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_assert_no_vmce(&w);
	assert_int_equal(unit_stats(&w.u).heals_fresh_copy, 1);
	unit_check(&w.u);
	ras_close(&w);
}

/* No dup ever has the lost slot again, and it is never punched. */
static void a_lost_slot_is_never_used_again(void **state)
{
	struct unit_ras w;
	uint32_t slot;

	(void)state;
	ras_chain(&w, 16, 32);
	slot = ras_slot(&w, 0);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_int_equal(tf_slot_dup(ras_store(&w), slot), 0);
	for (unsigned round = 0; round < 8; round++) {
		unit_fill_run(w.ram, 16, 1000 + 16 * round);
		unit_fill_run(ras_page(&w, 16), 16, 1000 + 16 * round);
		unit_passes(&w.u, 4);
		assert_int_equal(unit_guest_stats(w.g).pages_merged, 32);
		for (unsigned i = 0; i < 32; i++)
			assert_int_not_equal(ras_slot(&w, i), slot);
	}
	assert_int_equal(tf_guest_discard(w.g, 0, 32 * TF_PAGE), 0);
	unit_passes(&w.u, 2);
	assert_int_equal(ras_store(&w)->windows[0].live, 1);
	assert_int_equal(unit_stats(&w.u).quarantined, 1);
	ras_assert_no_vmce(&w);
	ras_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_copies_lost),
		cmocka_unit_test(a_third_copy_heals_both),
		cmocka_unit_test(the_donor_is_lost_while_healing),
		cmocka_unit_test(copies_are_lost_as_they_are_mapped),
		cmocka_unit_test(the_last_copy_outlives_its_sharers),
		cmocka_unit_test(a_lost_fresh_copy_is_not_used),
		cmocka_unit_test(no_slot_can_be_had),
		cmocka_unit_test(a_slot_that_cannot_be_written),
		cmocka_unit_test(healing_needs_no_budget),
		cmocka_unit_test(a_lost_slot_is_never_used_again),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
