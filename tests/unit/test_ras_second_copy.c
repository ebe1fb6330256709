/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The second copy that min_copies asks for is there when there are sharers
 * enough, and is there again when healing has used it.
 */
#include "lib/unit_ras.h"

static void open_sharers(struct unit_ras *w, unsigned pages)
{
	ras_init(w, 256);
	w->u.opts.min_copies = 2;
	w->u.opts.copy_sharers = 2;
	ras_open(w, pages);
	ras_merge_all(w);
	unit_passes(&w->u, 4);
}

static void two_sharers_are_enough(void **state)
{
	struct unit_ras w;

	(void)state;
	open_sharers(&w, 2);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 2);
	unit_check(&w.u);
	ras_close(&w);
}

/* The page that is alone on its copy is lost: it goes to the other. */
static void a_copy_with_one_sharer_is_lost(void **state)
{
	struct unit_ras w;
	unsigned page = 0;

	(void)state;
	open_sharers(&w, 3);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 3);
	while (ras_sharers(&w, ras_dup(&w, page)) > 1)
		page++;
	ras_lose(&w, page);
	ras_touch(ras_page(&w, page));
	ras_settle(&w);
	ras_assert_no_vmce(&w);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 3);
	unit_check(&w.u);
	ras_close(&w);
}

/* All that share the second copy write: another one takes its place. */
static void the_second_copy_is_made_again(void **state)
{
	struct unit_ras w;
	uint32_t dup, other;
	unsigned page = 0;

	(void)state;
	open_sharers(&w, 32);
	dup = ras_dup(&w, 0);
	while (ras_dup(&w, page) == dup)
		page++;
	other = ras_dup(&w, page);
	if (ras_sharers(&w, other) > ras_sharers(&w, dup))
		other = dup;
	for (unsigned i = 0; i < 32; i++)
		if (unit_state(&w.u, ras_page(&w, i)) == TF_FRAME_SHARED &&
		    ras_dup(&w, i) == other)
			unit_fill(ras_page(&w, i), 100 + i);
	unit_pass(&w.u);
	assert_true(unit_stats(&w.u).pages_recoverable > 8);
	assert_int_equal(unit_stats(&w.u).pages_recoverable,
			 unit_guest_stats(w.g).pages_merged);
	unit_check(&w.u);
	ras_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_with_one_sharer_is_lost),
		cmocka_unit_test(two_sharers_are_enough),
		cmocka_unit_test(the_second_copy_is_made_again),
	};

	return unit_run(tests);
}
