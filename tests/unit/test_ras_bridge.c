/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory errors on bridges: their bytes are nowhere else. The guest is told of
 * that very page, and of no other; one that has got a twin is healed as far as
 * there is a second copy.
 */
#include <errno.h>
#include <string.h>

#include "engine/chain.h"
#include "lib/unit_ras.h"

/* Contents [1, 4] on pages 0 to 3, then on 5, 7, 9 and 11. */
#define PAGES 16u
#define CONTENTS 4u
#define ROAD 5u
#define ROAD_END (ROAD + 2 * CONTENTS - 1)
#define BRIDGE (ROAD + 3)
#define SPARE 14u

static uint64_t content(unsigned page)
{
	if (page < CONTENTS)
		return 1 + page;
	return (page - ROAD) % 2 ? 1000 + page : 1 + (page - ROAD) / 2;
}

static bool is_filled(unsigned page)
{
	return page < CONTENTS || (page >= ROAD && page < ROAD_END);
}

static void assert_contents_but(const struct unit_ras *w, unsigned page)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (i != page && is_filled(i))
			unit_assert_page(ras_page(w, i), content(i));
}

static void road_open(struct unit_ras *w, unsigned copies)
{
	ras_init(w, 256);
	w->u.opts.min_copies = copies;
	w->u.opts.copy_sharers = 2;
	ras_open(w, PAGES);
	for (unsigned i = 0; i < PAGES; i++)
		if (is_filled(i))
			unit_fill(ras_page(w, i), content(i));
	unit_passes(&w->u, 3);
	assert_true(unit_dup(&w->u, ras_page(w, BRIDGE)).bridge);
	assert_int_equal(unit_stats(&w->u).pages_bridged, CONTENTS - 1);
}

static void a_lost_bridge_is_told(int code)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	road_open(&w, 2);
	ras_lose(&w, BRIDGE);
	assert_int_equal(ras_handle(&w, ras_page(&w, BRIDGE) + 8, code, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_ptr_equal(v.guest, w.g);
	assert_int_equal(v.gpa, BRIDGE * TF_PAGE);
	assert_int_equal(v.source, TF_RAS_FROM_NOWHERE);
	ras_assert_told(&w, BRIDGE, 1);
	assert_int_equal(unit_stats(&w.u).heals, 0);
	assert_int_equal(unit_stats(&w.u).pages_bridged, CONTENTS - 2);
	unit_check(&w.u);
	/* The guest gives the page up, and it is a page like any other. */
	assert_int_equal(tf_guest_discard(w.g, BRIDGE * TF_PAGE, TF_PAGE), 0);
	unit_assert_page(ras_page(&w, BRIDGE), 0);
	unit_fill(ras_page(&w, BRIDGE), 7777);
	unit_passes(&w.u, 3);
	unit_assert_page(ras_page(&w, BRIDGE), 7777);
	assert_contents_but(&w, BRIDGE);
	ras_assert_told(&w, 0, 0);
	ras_close(&w);
}

static void a_bridge_has_no_other_copy(void **state)
{
	(void)state;
	a_lost_bridge_is_told(RAS_REQUIRED);
	a_lost_bridge_is_told(RAS_OPTIONAL);
}

/* The same, told by the slot: as the engine finds it. */
static void a_lost_slot_leads_to_its_bridge(void **state)
{
	const struct tf_store *s;
	struct tf_ras_verdict v;
	struct unit_ras w;
	const char *slot;

	(void)state;
	road_open(&w, 1);
	s = ras_store(&w);
	slot = tf_slot_bytes(s, ras_slot(&w, BRIDGE));
	ras_lose(&w, BRIDGE);
	assert_int_equal(ras_handle(&w, slot, RAS_OPTIONAL, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	ras_assert_told(&w, BRIDGE, 1);
	assert_contents_but(&w, BRIDGE);
	ras_close(&w);
}

/* Nobody touched it yet: un-merging finds it, and says so. */
static void unmerging_tells_of_a_lost_bridge(void **state)
{
	struct unit_ras w;

	(void)state;
	road_open(&w, 1);
	ras_lose(&w, BRIDGE);
	assert_int_equal(tf_guest_unmerge(w.g, 0, PAGES * TF_PAGE), -EHWPOISON);
	ras_assert_told(&w, BRIDGE, 1);
	assert_contents_but(&w, BRIDGE);
	assert_int_equal(unit_stats(&w.u).pages_bridged, 0);
	ras_close(&w);
}

static void its_neighbours_heal_as_before(void **state)
{
	struct unit_ras w;

	(void)state;
	road_open(&w, 2);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 2 * CONTENTS);
	ras_lose(&w, BRIDGE + 1);
	assert_contents_but(&w, PAGES);
	ras_assert_no_vmce(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).pages_bridged, CONTENTS - 1);
	ras_close(&w);
}

/* With a twin it has sharers, and with them a second copy. */
static void a_bridge_with_a_twin_heals(void **state)
{
	struct unit_ras w;

	(void)state;
	road_open(&w, 2);
	unit_fill(ras_page(&w, SPARE), content(BRIDGE));
	unit_fill(ras_page(&w, SPARE + 1), content(BRIDGE));
	unit_passes(&w.u, 3);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 2 * CONTENTS + 3);
	ras_lose(&w, BRIDGE);
	unit_assert_page(ras_page(&w, SPARE), content(BRIDGE));
	unit_assert_page(ras_page(&w, SPARE + 1), content(BRIDGE));
	assert_contents_but(&w, PAGES);
	ras_assert_no_vmce(&w);
	ras_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bridge_has_no_other_copy),
		cmocka_unit_test(a_lost_slot_leads_to_its_bridge),
		cmocka_unit_test(unmerging_tells_of_a_lost_bridge),
		cmocka_unit_test(its_neighbours_heal_as_before),
		cmocka_unit_test(a_bridge_with_a_twin_heals),
	};

	return unit_run(tests);
}
