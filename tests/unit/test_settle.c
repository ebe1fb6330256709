/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settling: when a page may be hashed, merged, or left alone for a while. */
#include <errno.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define PAGES 16u

static void pages_merge_in_their_second_pass(void **state)
{
	struct tf_pass p;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	p = unit_pass(&u);
	assert_int_equal(p.pages_volatile, PAGES);
	assert_int_equal(p.pages_hashed + p.merged, 0);
	p = unit_pass(&u);
	assert_int_equal(p.pages_hashed, PAGES);
	assert_int_equal(p.merged, PAGES);
	assert_int_equal(p.promoted, 1);
	assert_int_equal(p.complete, 1);
	unit_close(&u);
}

static void unique_pages_are_read_once(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill_run(ram, PAGES, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).pages_unshared, PAGES);
	for (int i = 0; i < 3; i++)
		assert_int_equal(unit_pass(&u).pages_hashed, 0);
	ram[0]++;
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).pages_unshared, PAGES - 1);
	assert_int_equal(unit_stats(&u).pages_volatile, 1);
	assert_int_equal(unit_pass(&u).pages_hashed, 1);
	unit_close(&u);
}

static void pages_that_are_written_never_settle(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	for (int i = 0; i < 6; i++) {
		unit_fill(ram, 100 + i);
		unit_fill(ram + TF_PAGE, 100 + i);
		assert_int_equal(unit_pass(&u).merged, 0);
	}
	assert_int_equal(unit_stats(&u).pages_hashed, 0);
	unit_close(&u);
}

/* A candidate that is written may not lend its old hash to a merge. */
static void a_written_candidate_is_none(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	unit_fill(ram, 2);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).pages_shared, 0);
	unit_assert_page(ram, 2);
	unit_close(&u);
}

/* Each break soon after a merge doubles the passes a frame waits. */
static void frames_that_break_soon_wait_longer(void **state)
{
	unsigned waited[4];
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_fill(ram + 2 * TF_PAGE, 1);
	unit_passes(&u, 2);
	for (unsigned i = 0; i < 4; i++) {
		unit_fill(ram, 1); /* the same bytes, but a write */
		assert_int_equal(unit_spot(&u, ram).was.history, i + 1);
		for (waited[i] = 0;
		     unit_state(&u, ram) != TF_FRAME_SHARED && waited[i] < 20;
		     waited[i]++)
			unit_pass(&u);
	}
	assert_int_equal(waited[0], 4); /* one more: it would not pay yet */
	assert_int_equal(waited[1], 5);
	assert_int_equal(waited[2], 9);
	assert_int_equal(waited[3], 17);
	unit_passes(&u, 10);
	unit_fill(ram, 1); /* this one lasted */
	assert_int_equal(unit_spot(&u, ram).was.history, 0);
	unit_close(&u);
}

/* Write the page and count the passes until it is a candidate again. */
static unsigned passes_to_settle(struct unit *u, char *addr, unsigned fill)
{
	unsigned n;

	unit_fill(addr, fill);
	for (n = 0; n < 20; n++) {
		unit_pass(u);
		if (n && unit_state(u, addr) == TF_FRAME_CANDIDATE)
			break;
	}
	return n + 1;
}

/* A page that is rewritten whenever it has settled is hashed less and less
 * often, until it merges once. */
static void frames_hashed_in_vain_wait_longer(void **state)
{
	const unsigned expected[] = { 2, 3, 5, 9, 9 };
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(passes_to_settle(&u, ram, 10 + i),
				 expected[i]);
	unit_fill(ram + TF_PAGE, 14);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_SHARED);
	assert_int_equal(unit_spot(&u, ram).was.vain, 0);
	unit_assert_page(ram, 14);
	unit_close(&u);
}

static void without_smart_scan_none_waits_longer(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.smart_scan = 0;
	unit_open(&u);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, PAGES * TF_PAGE);
	unit_fill(ram, 1);
	unit_passes(&u, 2);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(passes_to_settle(&u, ram, 10 + i), 2);
	unit_close(&u);
}

static void quiet_blocks_are_skipped_and_broken_ones_are_not(void **state)
{
	struct tf_block *b;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 20);
	b = unit_spot(&u, ram).b;
	pthread_mutex_lock(&u.e->lock);
	assert_int_equal(b->age, 3);
	pthread_mutex_unlock(&u.e->lock);
	unit_fill(ram, 2);
	pthread_mutex_lock(&u.e->lock);
	assert_int_equal(b->skip, 0);
	pthread_mutex_unlock(&u.e->lock);
	unit_close(&u);
}

/* Seven skipped passes at most: a page that is new there is found. */
static void new_pages_in_a_skipped_block_are_found(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 20);
	unit_fill(ram + 2 * TF_PAGE, 1);
	unit_passes(&u, 9);
	assert_int_equal(unit_state(&u, ram + 2 * TF_PAGE), TF_FRAME_SHARED);
	unit_close(&u);
}

static void open_hash_mode(struct unit *u, char **ram)
{
	unit_init(u);
	u->opts.scan_mode = TF_SCAN_HASH;
	unit_open(u);
	*ram = unit_ram(u, PAGES * TF_PAGE);
	unit_slot(unit_guest(u, NULL), 0, 0, *ram, PAGES * TF_PAGE);
	assert_true(unit_log_has(u, "hash every page"));
	assert_int_equal(unit_stats(u).scan_dirty, 0);
}

static void hash_mode_wants_the_same_hash_twice(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	open_hash_mode(&u, &ram);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	assert_int_equal(unit_pass(&u).merged, 0);
	unit_fill(ram, 2);
	assert_int_equal(unit_pass(&u).merged, 3);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_NEW);
	unit_fill(ram, 1);
	assert_int_equal(unit_pass(&u).merged, 0);
	assert_int_equal(unit_pass(&u).merged, 1);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_SHARED);
	unit_close(&u);
}

static void hash_mode_follows_candidates_and_zeros(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	open_hash_mode(&u, &ram);
	unit_fill_run(ram, PAGES, 1); /* no holes: they would become zeros */
	unit_fill(ram + TF_PAGE, 0);
	unit_passes(&u, 4);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	assert_int_equal(unit_state(&u, ram + TF_PAGE), TF_FRAME_ZERO);
	assert_int_equal(unit_stats(&u).zero_pages, 1);
	unit_fill(ram, 99);
	unit_fill(ram + TF_PAGE, 99);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).zero_pages, 0);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_SHARED);
	unit_assert_page(ram, 99);
	unit_assert_page(ram + TF_PAGE, 99);
	unit_close(&u);
}

/* A page that disappears (behind the engine's back) stops waiting. */
static void hash_mode_forgets_pages_that_went(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	open_hash_mode(&u, &ram);
	unit_fill(ram, 1);
	unit_pass(&u);
	assert_int_equal(madvise(ram, TF_PAGE, MADV_DONTNEED), 0);
	unit_pass(&u);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_NONE);
	unit_close(&u);
}

static int hash_fails(const struct tf_os *os, const void *page,
		      const uint8_t *secret, uint64_t *hash)
{
	(void)os;
	(void)page;
	(void)secret;
	(void)hash;
	return -EHWPOISON;
}

static void pages_that_cannot_be_read_are_left(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_pass(&u);
	unit_wrap(&u, hash, hash_fails);
	assert_int_equal(unit_pass(&u).merged, 0);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_NEW);
	unit_wrap(&u, hash, tf_os_linux.hash);
	assert_int_equal(unit_pass(&u).merged, 2);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_merge_in_their_second_pass),
		cmocka_unit_test(unique_pages_are_read_once),
		cmocka_unit_test(pages_that_are_written_never_settle),
		cmocka_unit_test(a_written_candidate_is_none),
		cmocka_unit_test(frames_that_break_soon_wait_longer),
		cmocka_unit_test(frames_hashed_in_vain_wait_longer),
		cmocka_unit_test(without_smart_scan_none_waits_longer),
		cmocka_unit_test(
			quiet_blocks_are_skipped_and_broken_ones_are_not),
		cmocka_unit_test(new_pages_in_a_skipped_block_are_found),
		cmocka_unit_test(hash_mode_wants_the_same_hash_twice),
		cmocka_unit_test(hash_mode_follows_candidates_and_zeros),
		cmocka_unit_test(hash_mode_forgets_pages_that_went),
		cmocka_unit_test(pages_that_cannot_be_read_are_left),
	};

	return unit_run(tests);
}
