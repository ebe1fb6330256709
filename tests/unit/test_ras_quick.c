/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Healing by the thread that was hit: it does not need the healer, which is
 * kept from the engine's lock here, and leaves it the other sharers.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/chain.h"
#include "lib/unit_ras.h"
#include "lib/unit_ras_seam.h"

#define SEED 7

static void assert_quick(struct unit_ras *w, enum tf_ras_source source)
{
	uint32_t lost = ras_dup(w, 0);
	struct tf_ras_verdict v;

	ras_lose(w, 0);
	assert_int_equal(ras_handle(w, w->ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	assert_int_equal(v.source, source);
	assert_ptr_equal(v.guest, w->g);
	assert_int_equal(v.gpa, 0);
	assert_int_not_equal(ras_dup(w, 0), lost);
	unit_assert_page(w->ram, SEED);
	ras_settle(w);
	ras_assert_all(w);
	assert_int_equal(unit_stats(&w->u).heals, 1);
	assert_int_equal(ras_events(w, TF_RAS_SHARED), 1);
	assert_int_equal(w->nevents, 1);
	ras_assert_no_vmce(w);
	unit_check(&w->u);
}

static void a_fresh_copy_is_made(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	assert_quick(&w, TF_RAS_FROM_FRESH_COPY);
	assert_int_equal(unit_stats(&w.u).heals_fresh_copy, 1);
	assert_non_null(w.u.e->list_at_hand); /* for the next */
	ras_close(&w);
}

/* No list at hand: to the other dup, which has a place. */
static void another_dup_takes_it(void **state)
{
	struct unit_ras w;
	uint32_t lost, other;
	unsigned beside;

	(void)state;
	ras_chain(&w, 16, 32);
	lost = ras_dup(&w, 0);
	beside = ras_page_beside(&w, lost, 0);
	other = ras_dup(&w, beside);
	unit_fill(ras_page(&w, beside), SEED + 1);
	unit_fill(ras_page(&w, beside), SEED);
	pthread_mutex_lock(&w.u.e->lock);
	free(w.u.e->list_at_hand);
	w.u.e->list_at_hand = NULL;
	pthread_mutex_unlock(&w.u.e->lock);
	assert_quick(&w, TF_RAS_FROM_DUP);
	assert_int_equal(ras_dup(&w, 0), other);
	ras_close(&w);
}

/* Neither: the healer, who may ask for memory. */
static void the_healer_helps(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	pthread_mutex_lock(&w.u.e->lock);
	free(w.u.e->list_at_hand);
	w.u.e->list_at_hand = NULL;
	pthread_mutex_unlock(&w.u.e->lock);
	assert_quick(&w, TF_RAS_FROM_FRESH_COPY);
	ras_close(&w);
}

/* Who comes second finds the page healed, and another sharer heals itself. */
static void all_sharers_may_come_at_once(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(ras_handle(&w, ras_page(&w, i / 2),
					    RAS_REQUIRED, &v),
				 0);
		assert_int_equal(v.cls, TF_RAS_SHARED);
		unit_assert_page(ras_page(&w, i / 2), SEED);
	}
	ras_settle(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).quarantined, 1);
	ras_assert_no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

/* A sharer that cannot be moved here is left to the healer, who tries again. */
static void a_move_that_fails(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, 16, 32);
	ras_seam.victim = w.ram;
	atomic_store(&ras_seam.map_fails, 1);
	assert_quick(&w, TF_RAS_FROM_FRESH_COPY);
	assert_int_equal(atomic_load(&ras_seam.map_fails), 0);
	ras_close(&w);
}

/* The guest goes away while the healer still has its other sharers to do. */
static void the_guest_goes_away(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	for (int i = 0; i < 20; i++) {
		ras_chain(&w, 16, 32);
		ras_lose(&w, 0);
		assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
		tf_guest_destroy(w.g);
		unit_check(&w.u);
		for (unsigned p = 0; p < 32; p++)
			unit_assert_page(ras_page(&w, p), SEED);
		ras_close(&w);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fresh_copy_is_made),
		cmocka_unit_test(another_dup_takes_it),
		cmocka_unit_test(the_healer_helps),
		cmocka_unit_test(all_sharers_may_come_at_once),
		cmocka_unit_test(a_move_that_fails),
		cmocka_unit_test(the_guest_goes_away),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
