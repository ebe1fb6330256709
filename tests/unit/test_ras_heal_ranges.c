/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lost pages in ranges that are un-merged, pinned, discarded, written anew or
 * un-registered.
 */
#include "twinfold/ras.h"

#include <errno.h>

#include "engine/chain.h"
#include "lib/unit_ras.h"

#define SEED 7

/* The old copy is lost for good, new pages of the content merge again. */
static void content_merges_again(void **state)
{
	struct unit_ras w;
	uint32_t slot;

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 16);
	unit_fill_run(w.ram, 16, 100);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 3);
	slot = ras_slot(&w, 0);
	ras_lose(&w, 0);
	unit_assert_page(w.ram, 0);
	ras_assert_told(&w, 0, 4);
	for (unsigned i = 8; i < 12; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 4);
	for (unsigned i = 8; i < 12; i++) {
		assert_int_not_equal(ras_slot(&w, i), slot);
		unit_assert_page(ras_page(&w, i), SEED);
	}
	assert_int_equal(tf_guest_discard(w.g, 0, 4 * TF_PAGE), 0);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	assert_int_equal(unit_stats(&w.u).vmces, 4);
	ras_close(&w);
}

typedef int call_fn(struct tf_guest *g, uint64_t gpa, size_t bytes);

static void call_heals(struct unit_ras *w, call_fn *call)
{
	assert_int_equal(call(w->g, 0, w->pages * TF_PAGE), 0);
	ras_assert_all(w);
	ras_assert_no_vmce(w);
	ras_settle(w);
	assert_int_equal(ras_events(w, TF_RAS_SHARED), 1);
	assert_int_equal(w->nevents, 1);
	unit_check(&w->u);
}

/* Nobody has touched the lost page when its range is to be private. */
static void unmerging_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	call_heals(&w, tf_guest_unmerge);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 0);
	ras_close(&w);
}

static void pinning_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	call_heals(&w, tf_guest_pin);
	assert_int_equal(tf_guest_unpin(w.g, 0, 32 * TF_PAGE), 0);
	ras_close(&w);
}

/* Whoever un-registers memory reads it afterwards, with no healer. */
static void removing_a_memslot_with_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	assert_int_equal(tf_guest_del_memslot(w.g, 0), 0);
	ras_settle(&w);
	tf_ras_uninstall(w.u.e);
	ras_assert_all(&w);
	ras_close(&w);
}

/* No copy is left: the others of the range are private all the same. */
static void what_cannot_be_healed_is_said(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 16);
	for (unsigned i = 0; i < 16; i++)
		unit_fill(ras_page(&w, i), i < 4 ? SEED : 100 + i / 2);
	unit_passes(&w.u, 3);
	ras_lose(&w, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(tf_guest_unmerge(w.g, 0, 16 * TF_PAGE),
				 -EHWPOISON);
		assert_int_equal(unit_guest_stats(w.g).pages_merged, 0);
	}
	assert_int_equal(tf_guest_pin(w.g, 0, 16 * TF_PAGE), -EHWPOISON);
	assert_int_equal(tf_guest_unpin(w.g, 0, 16 * TF_PAGE), -ENOENT);
	ras_assert_told(&w, 0, 4);
	for (unsigned i = 4; i < 16; i++)
		unit_assert_page(ras_page(&w, i), 100 + i / 2);
	unit_check(&w.u);
	ras_close(&w);
}

static void discarding_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	assert_int_equal(tf_guest_discard(w.g, 0, 32 * TF_PAGE), 0);
	for (unsigned i = 0; i < 32; i++)
		unit_assert_page(ras_page(&w, i), 0);
	unit_passes(&w.u, 2);
	ras_assert_no_vmce(&w);
	ras_close(&w);
}

/* A private page that was lost and discarded is like new. */
static void discarding_a_lost_private_page(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 3);
	assert_int_equal(tf_guest_discard(w.g, 3 * TF_PAGE, TF_PAGE), 0);
	unit_assert_page(ras_page(&w, 3), 0);
	for (unsigned i = 0; i < 8; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	ras_assert_no_vmce(&w);
	ras_close(&w);
}

/* Lost for good, then un-merged, pinned, un-registered: no vMCE again. */
static void pages_lost_for_good_in_ranges(void **state)
{
	struct unit_ras w;
	struct tf_ras_verdict v;

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 16);
	unit_fill_run(w.ram, 16, 100);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 3);
	ras_lose(&w, 0);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	ras_assert_told(&w, 0, 4);
	tf_guest_unmerge(w.g, 0, 16 * TF_PAGE);
	unit_check(&w.u);
	if (!tf_guest_pin(w.g, 0, 16 * TF_PAGE))
		assert_int_equal(tf_guest_unpin(w.g, 0, 16 * TF_PAGE), 0);
	unit_passes(&w.u, 3);
	ras_assert_told(&w, 0, 0);
	unit_assert_run(ras_page(&w, 4), 12, 104);
	assert_int_equal(tf_guest_del_memslot(w.g, 0), 0);
	unit_check(&w.u);
	unit_assert_run(ras_page(&w, 4), 12, 104);
	assert_int_equal(unit_stats(&w.u).vmces, 4);
	ras_close(&w);
}

static void destroying_a_guest_with_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	tf_guest_destroy(w.g);
	unit_check(&w.u);
	ras_close(&w);
}

/* The engine has just found a lost page, and is destroyed. */
static void destroying_an_engine_with_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	for (int i = 0; i < 10; i++) {
		ras_chain(&w, 16, 32);
		ras_lose(&w, 0);
		ras_close(&w); /* its check reads every slot */
	}
}

static unsigned asked;

/* The healer ends while somebody waits for it. */
static void uninstall_meanwhile(struct tf_engine *e, const void *addr)
{
	(void)addr;
	asked++;
	pthread_mutex_unlock(&e->lock);
	tf_ras_uninstall(e);
	pthread_mutex_lock(&e->lock);
}

/* Of two lost contents only the first is asked for. */
static void nobody_heals_any_more(void **state)
{
	struct unit_ras w;
	uint32_t lost[2];

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 4);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ras_page(&w, i), SEED + i % 2);
	unit_passes(&w.u, 3);
	lost[0] = ras_dup(&w, 0);
	lost[1] = ras_dup(&w, 1);
	asked = 0;
	pthread_mutex_lock(&w.u.e->lock);
	tf_dup_condemn(w.u.e, lost[0]);
	tf_dup_condemn(w.u.e, lost[1]);
	w.u.e->heal_lost = uninstall_meanwhile;
	pthread_mutex_unlock(&w.u.e->lock);
	assert_int_equal(tf_guest_unmerge(w.g, 0, 4 * TF_PAGE), -EHWPOISON);
	assert_int_equal(asked, 1);
	ras_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_merges_again),
		cmocka_unit_test(unmerging_lost_pages),
		cmocka_unit_test(pinning_lost_pages),
		cmocka_unit_test(removing_a_memslot_with_lost_pages),
		cmocka_unit_test(what_cannot_be_healed_is_said),
		cmocka_unit_test(discarding_lost_pages),
		cmocka_unit_test(discarding_a_lost_private_page),
		cmocka_unit_test(pages_lost_for_good_in_ranges),
		cmocka_unit_test(destroying_a_guest_with_lost_pages),
		cmocka_unit_test(destroying_an_engine_with_lost_pages),
		cmocka_unit_test(nobody_heals_any_more),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
