/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Profit: what is merged at once, what waits, and which gaps are bridged.
 */
#include "engine/profit.h"

#include "lib/unit_world.h"

/* A page of a run of so many: does merging it pay? */
static bool pays(unsigned pages, bool joins, unsigned history, unsigned waited)
{
	const struct tf_run run = { .pages = pages, .joins = joins };
	const struct tf_frame f = {
		.state = TF_FRAME_NEW,
		.fresh.looks = waited,
		.history = (uint8_t)history,
	};

	return tf_profit_pays(&run, &f);
}

static void pages_without_a_history_pay_at_once(void **state)
{
	(void)state;
	assert_true(pays(1, false, 0, 0));
	assert_true(pays(1, true, 0, 0));
	assert_true(pays(512, false, 0, 0));
}

/* Nobody knows yet whether the writer is done. */
static void a_page_that_broke_does_not_pay_at_once(void **state)
{
	(void)state;
	assert_false(pays(1, false, 1, 0));
	assert_false(pays(1, true, 1, 0));
	assert_false(pays(512, false, 1, 0));
	assert_false(pays(512, true, 6, 0));
}

/* The mappings of a lone page are worth more than one quiet pass. */
static void a_lone_page_that_broke_waits_longer(void **state)
{
	(void)state;
	assert_false(pays(1, false, 1, 1));
	assert_true(pays(1, false, 1, 2));
	assert_true(pays(1, true, 1, 1));
	assert_true(pays(16, false, 1, 1));
}

/* Waiting longer, or a longer run, never makes a merge worth less. */
static void profit_grows_with_waiting_and_with_the_run(void **state)
{
	(void)state;
	for (unsigned pages = 1; pages <= 64; pages++)
		for (unsigned waited = 0; waited <= 64; waited++) {
			if (!pays(pages, false, 1, waited))
				continue;
			assert_true(pays(pages, false, 1, waited + 1));
			assert_true(pays(pages + 1, false, 1, waited));
			assert_true(pays(pages, true, 1, waited));
		}
	assert_true(pays(1, false, 6, 64));
}

static bool bridge_pays(uint32_t made, uint32_t broke, unsigned gap)
{
	const struct tf_bridges past = { .made = made, .broke = broke };

	return tf_profit_bridge(&past, gap);
}

static void small_gaps_pay(void **state)
{
	(void)state;
	assert_true(bridge_pays(0, 0, 1));
	assert_true(bridge_pays(0, 0, 2));
	assert_false(bridge_pays(0, 0, 8)); /* two mappings are not worth it */
	assert_false(bridge_pays(1u << 31, 0, 8));
}

/* One break of 80 us takes back what many bridges saved. */
static void bridges_that_break_do_not_pay(void **state)
{
	(void)state;
	assert_true(bridge_pays(100000, 1000, 1));
	assert_false(bridge_pays(100000, 5000, 1));
	assert_false(bridge_pays(10, 10, 1));
	assert_false(bridge_pays(UINT32_MAX, UINT32_MAX, 1));
}

/* A longer gap never pays where a shorter one does not, nor does a gap of a
 * guest that broke more of its bridges. */
static void bridges_pay_less_the_more_they_cost(void **state)
{
	(void)state;
	for (uint32_t made = 0; made < 100000; made = 2 * made + 1)
		for (uint32_t broke = 0; broke <= made; broke = 2 * broke + 1)
			for (unsigned gap = 1; gap < 10; gap++) {
				if (bridge_pays(made, broke, gap))
					continue;
				assert_false(bridge_pays(made, broke, gap + 1));
				assert_false(bridge_pays(made, broke + 1, gap));
			}
}

/* Passes until the page, broken and quiet since, is merged again. */
static unsigned passes_to_merge(struct unit *u, char *page, uint64_t content)
{
	unsigned n = 0;

	assert_int_equal(unit_state(u, page), TF_FRAME_SHARED);
	unit_fill(page, content);
	assert_int_equal(unit_spot(u, page).was.history, 1);
	while (unit_state(u, page) != TF_FRAME_SHARED) {
		unit_pass(u);
		assert_true(++n < 20);
	}
	unit_assert_page(page, content);
	return n;
}

static void lone_pages_are_merged_again_later_than_runs(void **state)
{
	const unsigned n = 64;
	unsigned in_run, alone;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, 3 * n, &ram);
	unit_fill_run(ram, n, 1);
	unit_fill_run(ram + n * TF_PAGE, n, 1);
	unit_fill_run(ram + 2 * n * TF_PAGE, n, 1000);
	unit_fill(ram + (2 * n + 20) * TF_PAGE, 50);
	unit_passes(&u, 2);
	in_run = passes_to_merge(&u, ram + (n + 30) * TF_PAGE, 31);
	alone = passes_to_merge(&u, ram + (2 * n + 20) * TF_PAGE, 50);
	assert_true(in_run > 2); /* the history counts for it, too */
	assert_int_equal(alone, in_run + 1);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_without_a_history_pay_at_once),
		cmocka_unit_test(a_page_that_broke_does_not_pay_at_once),
		cmocka_unit_test(a_lone_page_that_broke_waits_longer),
		cmocka_unit_test(profit_grows_with_waiting_and_with_the_run),
		cmocka_unit_test(small_gaps_pay),
		cmocka_unit_test(bridges_that_break_do_not_pay),
		cmocka_unit_test(bridges_pay_less_the_more_they_cost),
		cmocka_unit_test(lone_pages_are_merged_again_later_than_runs),
	};

	return unit_run(tests);
}
