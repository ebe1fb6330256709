/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a fault on purpose leaves alone. */
#include "twinfold/ras.h"

#include <sys/mman.h>

#include "lib/unit_ras.h"

#define HALF 16u
#define PAGES (2 * HALF)
#define GPA (64 * TF_PAGE)

/* As unit_ram(), but accounted for, like the mapping of a simulated fault: the
 * kernel joins the two where it can. */
static char *plain_ram(struct unit *u)
{
	char *at = mmap(NULL, PAGES * TF_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	assert_true(u->nrams < UNIT_RAMS);
	u->ram[u->nrams].base = at;
	u->ram[u->nrams++].bytes = PAGES * TF_PAGE;
	return at;
}

/* Sharers of adjacent slots, side by side, are one mapping of the kernel's.
 * The ones beside a lost one are watched as before: a write breaks them. */
static void neighbours_stay_protected(void **state)
{
	struct unit_ras w;
	char *ram;

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 1);
	ram = plain_ram(&w.u);
	unit_slot(w.g, 1, GPA, ram, PAGES * TF_PAGE);
	unit_fill_run(ram, HALF, 1);
	unit_fill_run(ram + HALF * TF_PAGE, HALF, 1);
	unit_passes(&w.u, 3);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, PAGES);
	assert_int_equal(
		tf_ras_inject(w.u.e, w.g, GPA + 8 * TF_PAGE, TF_INJECT_SIM), 0);
	for (unsigned i = 9; i >= 7; i -= 2) { /* downwards: no stream */
		ram[i * TF_PAGE + 100] ^= 1;
		assert_int_equal(unit_state(&w.u, ram + i * TF_PAGE),
				 TF_FRAME_NEW);
		ram[i * TF_PAGE + 100] ^= 1;
	}
	for (unsigned i = 0; i < PAGES; i++)
		if (i % HALF != 8)
			unit_assert_page(ram + i * TF_PAGE, 1 + i % HALF);
	ras_assert_no_vmce(&w);
	ras_close(&w);
}

/* No pass has seen the memslot: nothing is known of its pages. */
static void a_lost_page_of_a_new_memslot(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 3);
	assert_int_equal(tf_guest_del_memslot(w.g, 0), 0);
	unit_slot(w.g, 0, 0, w.ram, 8 * TF_PAGE);
	unit_assert_page(ras_page(&w, 3), 0); /* told, came again */
	ras_assert_told(&w, 3, 1);
	unit_fill(ras_page(&w, 3), 4);
	unit_passes(&w.u, 2);
	unit_assert_run(w.ram, 8, 1);
	ras_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_stay_protected),
		cmocka_unit_test(a_lost_page_of_a_new_memslot),
	};

	return unit_run(tests);
}
