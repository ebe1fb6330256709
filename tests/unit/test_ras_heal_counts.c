/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is told of a lost page, how often, and what the statistics count.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <unistd.h>

#include "lib/unit_ras.h"

#define SEED 7

static unsigned page_of(struct unit_ras *w, uint32_t dup)
{
	for (unsigned i = 0; i < w->pages; i++) {
		struct unit_spot s = unit_spot(&w->u, ras_page(w, i));

		if (s.was.state == TF_FRAME_SHARED && s.was.shared.dup == dup)
			return i;
	}
	fail_msg("nobody shares it");
	return 0;
}

static void what_can_be_recovered_is_counted(void **state)
{
	struct unit_ras w;
	uint32_t dup;

	(void)state;
	ras_chain(&w, 16, 32);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 32);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 32);
	assert_int_equal(unit_stats(&w.u).pages_shared, 2);
	assert_int_equal(unit_stats(&w.u).pages_sharing, 30);
	dup = ras_dup(&w, 0);
	ras_thin_out(&w, dup, 1);
	unit_fill(ras_page(&w, page_of(&w, dup)), 300);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 0);
	ras_close(&w);
}

/* Two guests of one domain: unique pages, and a content that both share. */
static void the_right_guest_is_told(void **state)
{
	struct tf_ras_verdict v;
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_guest *a, *b;
	unsigned told[2][4] = { 0 };
	struct unit_ras w;
	char *ram[2];
	uint64_t n;

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 1);
	a = unit_guest(&w.u, "one");
	b = unit_guest(&w.u, "one");
	for (unsigned i = 0; i < 2; i++) {
		ram[i] = unit_ram(&w.u, 4 * TF_PAGE);
		unit_slot(i ? b : a, 0, (i + 1) * 64 * TF_PAGE, ram[i],
			  4 * TF_PAGE);
		unit_fill_run(ram[i], 4, 10 + 10 * i);
		unit_fill(ram[i] + TF_PAGE, SEED);
	}
	unit_passes(&w.u, 3);
	assert_int_equal(unit_stats(&w.u).pages_sharing, 1);
	assert_int_equal(read(w.eventfd, &n, 8), -1);
	assert_int_equal(tf_ras_inject(w.u.e, b, 130 * TF_PAGE, TF_INJECT_SIM),
			 0);
	assert_int_equal(ras_handle(&w, ram[1] + 2 * TF_PAGE, RAS_REQUIRED, &v),
			 0);
	assert_ptr_equal(v.guest, b);
	assert_int_equal(v.gpa, 130 * TF_PAGE);
	assert_int_equal(read(w.eventfd, &n, 8), 8);
	assert_int_equal(n, 1);
	assert_int_equal(tf_ras_inject(w.u.e, a, 65 * TF_PAGE, TF_INJECT_SIM),
			 0);
	assert_int_equal(ras_handle(&w, ram[0] + TF_PAGE, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_int_equal(read(w.eventfd, &n, 8), 8);
	assert_int_equal(n, 2);
	while (!tf_ras_take_vmce(w.u.e, 0, &vmce)) {
		unsigned i = vmce.guest == b;

		assert_true(i || vmce.guest == a);
		told[i][vmce.gpa / TF_PAGE - (i + 1) * 64]++;
	}
	for (unsigned i = 0; i < 2; i++)
		for (unsigned page = 0; page < 4; page++)
			assert_int_equal(told[i][page],
					 page == 1 || (i && page == 2));
	assert_int_equal(unit_stats(&w.u).vmces, 3);
	ras_close(&w);
}

static void a_destroyed_guest_is_told_nothing(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_ras_verdict v;
	struct tf_guest *a, *b;
	struct unit_ras w;
	char *ram[2];

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 1);
	a = unit_guest(&w.u, "one");
	b = unit_guest(&w.u, "one");
	for (unsigned i = 0; i < 2; i++) {
		ram[i] = unit_ram(&w.u, 4 * TF_PAGE);
		unit_slot(i ? b : a, 0, 0, ram[i], 4 * TF_PAGE);
		unit_fill(ram[i], SEED);
	}
	unit_passes(&w.u, 3);
	assert_int_equal(tf_ras_inject(w.u.e, b, 0, TF_INJECT_SIM), 0);
	assert_int_equal(ras_handle(&w, ram[0], RAS_REQUIRED, &v), 0);
	ras_settle(&w);
	tf_guest_destroy(b);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), 0);
	assert_ptr_equal(vmce.guest, a);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), -EAGAIN);
	unit_check(&w.u);
	ras_close(&w);
}

static void a_verdict_is_one_event(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 2);
	unit_assert_page(ras_page(&w, 2), 0); /* told, came again */
	assert_int_equal(ras_events(&w, TF_RAS_PRIVATE), 2);
	assert_ptr_equal(w.event[0].guest, w.g);
	assert_int_equal(w.event[0].gpa, 2 * TF_PAGE);
	ras_assert_told(&w, 2, 1);
	ras_close(&w);
}

/* One touch, one heal, one event: not one more for the engine's own look. */
static void a_heal_is_one_event(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	unit_assert_page(w.ram, SEED);
	assert_int_equal(ras_events(&w, TF_RAS_SHARED), 1);
	assert_int_equal(w.nevents, 1);
	ras_close(&w);
}

static void an_event_says_how_long_it_took(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 2);
	unit_assert_page(ras_page(&w, 2), 0);
	assert_int_equal(ras_events(&w, TF_RAS_PRIVATE), 2);
	assert_true(w.event[0].ns);
	ras_close(&w);
}

/* A vMCE for each of very many sharers. */
static void no_vmce_is_dropped(void **state)
{
	struct unit_ras w;
	const unsigned n = 1500;

	(void)state;
	ras_init(&w, 4096);
	ras_open(&w, n);
	ras_merge_all(&w);
	ras_lose(&w, 0);
	unit_assert_page(w.ram, 0);
	ras_assert_told(&w, 0, n);
	ras_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_can_be_recovered_is_counted),
		cmocka_unit_test(the_right_guest_is_told),
		cmocka_unit_test(a_destroyed_guest_is_told_nothing),
		cmocka_unit_test(a_verdict_is_one_event),
		cmocka_unit_test(a_heal_is_one_event),
		cmocka_unit_test(an_event_says_how_long_it_took),
		cmocka_unit_test(no_vmce_is_dropped),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
