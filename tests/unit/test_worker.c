/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Background scanning: start, stop, and what the worker does between. */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "lib/unit_world.h"

#define PAGES 64u

static uint64_t now_ms(void)
{
	return tf_os_linux.now_ns(&tf_os_linux) / 1000000;
}

static void starting_and_stopping_twice(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	assert_int_equal(tf_engine_stop(u.e), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tf_engine_start(u.e), 0);
		assert_int_equal(tf_engine_start(u.e), -EALREADY);
		assert_int_equal(tf_engine_stop(u.e), 0);
		assert_int_equal(tf_engine_stop(u.e), 0);
	}
	unit_close(&u);
}

static void the_worker_merges_and_remerges(void **state)
{
	uint64_t end = now_ms() + 20000;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill_run(ram, PAGES / 2, 1);
	unit_fill_run(ram + PAGES / 2 * TF_PAGE, PAGES / 2, 1);
	assert_int_equal(tf_engine_start(u.e), 0);
	while (unit_stats(&u).pages_sharing < PAGES / 2 && now_ms() < end)
		usleep(5000);
	assert_int_equal(unit_stats(&u).pages_sharing, PAGES / 2);
	unit_fill(ram, 1);
	assert_int_equal(unit_stats(&u).breaks, 1);
	while (unit_stats(&u).pages_sharing < PAGES / 2 && now_ms() < end)
		usleep(5000);
	assert_int_equal(unit_stats(&u).pages_sharing, PAGES / 2);
	assert_int_equal(tf_engine_stop(u.e), 0);
	unit_assert_run(ram, PAGES / 2, 1);
	unit_close(&u);
}

/* A stop does not wait for a nap, nor for a pass. */
static void stopping_is_quick(void **state)
{
	uint64_t begin;
	struct unit u;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	assert_int_equal(tf_engine_start(u.e), 0);
	while (unit_stats(&u).full_scans < 5)
		usleep(5000);
	usleep(50000);
	begin = now_ms();
	assert_int_equal(tf_engine_stop(u.e), 0);
	assert_true(now_ms() - begin < 250);
	unit_close(&u);
}

static void memslots_change_while_it_runs(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.smart_scan = 0;
	unit_open(&u);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_fill_run(ram, PAGES / 2, 1);
	unit_fill_run(ram + PAGES / 2 * TF_PAGE, PAGES / 2, 1);
	assert_int_equal(tf_engine_start(u.e), 0);
	for (int i = 0; i < 20; i++) {
		unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
		usleep(i * 3000);
		unit_check(&u);
		assert_int_equal(tf_guest_del_memslot(g, 0), 0);
		unit_assert_run(ram, PAGES / 2, 1);
	}
	assert_int_equal(tf_engine_stop(u.e), 0);
	unit_close(&u);
}

static long bad_scan(const struct tf_os *os, int fd, struct tf_scan *scan)
{
	if (scan->start == scan->end)
		return tf_os_linux.pagemap_scan(os, fd, scan);
	return -ENOMEM;
}

static void failed_passes_are_said(void **state)
{
	uint64_t end = now_ms() + 20000;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_wrap(&u, pagemap_scan, bad_scan);
	u.e->scan_dirty = true;
	assert_int_equal(tf_engine_start(u.e), 0);
	while (!unit_log_has(&u, "a pass ended early") && now_ms() < end)
		usleep(5000);
	assert_true(unit_log_has(&u, "a pass ended early"));
	assert_int_equal(tf_engine_stop(u.e), 0);
	unit_close(&u);
}

static struct tf_engine *stop_this;
static pthread_t canceller;

static _Atomic uint64_t asked;

/* The worker is told to stop while it hashes: the pass ends there. */
static int hash_and_stop(const struct tf_os *os, const void *page,
			 const uint8_t *secret, uint64_t *hash)
{
	if (!asked++)
		stop_this->worker.stop = true;
	return tf_os_linux.hash(os, page, secret, hash);
}

static void a_stop_ends_the_pass_between_blocks(void **state)
{
	uint64_t end = now_ms() + 20000;
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, 8 * TF_BLOCK_PAGES, &ram);
	unit_fill_run(ram, 8 * TF_BLOCK_PAGES, 1);
	stop_this = u.e;
	asked = 0;
	unit_wrap(&u, hash, hash_and_stop);
	assert_int_equal(tf_engine_start(u.e), 0);
	while (!asked && now_ms() < end)
		usleep(1000);
	assert_int_equal(tf_engine_stop(u.e), 0);
	assert_int_equal(asked, TF_BLOCK_PAGES);
	assert_int_equal(unit_stats(&u).full_scans, 1);
	unit_wrap(&u, hash, tf_os_linux.hash);
	unit_passes(&u, 2); /* nothing was forgotten */
	assert_int_equal(unit_stats(&u).pages_unshared, 8 * TF_BLOCK_PAGES);
	unit_close(&u);
}

static void *cancel_main(void *arg)
{
	assert_int_equal(tf_engine_cancel(arg), 0);
	return NULL;
}

/* Another thread asks for the end, while this one makes the pass. */
static int hash_and_cancel(const struct tf_os *os, const void *page,
			   const uint8_t *secret, uint64_t *hash)
{
	if (!asked++) {
		assert_false(pthread_create(&canceller, NULL, cancel_main,
					    stop_this));
		while (!atomic_load(&stop_this->cancels))
			usleep(100);
	}
	return tf_os_linux.hash(os, page, secret, hash);
}

static void a_cancelled_pass_ends_between_blocks(void **state)
{
	struct tf_pass pass = { .size = sizeof(pass) };
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, 8 * TF_BLOCK_PAGES, &ram);
	unit_fill_run(ram, 8 * TF_BLOCK_PAGES, 1);
	assert_int_equal(tf_engine_cancel(u.e), 0);
	unit_passes(&u, 1); /* which the call before does not affect */
	stop_this = u.e;
	asked = 0;
	unit_wrap(&u, hash, hash_and_cancel);
	assert_int_equal(tf_engine_pass(u.e, &pass), -ECANCELED);
	assert_false(pthread_join(canceller, NULL));
	assert_int_equal(asked, TF_BLOCK_PAGES);
	unit_wrap(&u, hash, tf_os_linux.hash);
	unit_passes(&u, 2); /* nothing was forgotten */
	assert_int_equal(unit_stats(&u).pages_unshared, 8 * TF_BLOCK_PAGES);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starting_and_stopping_twice),
		cmocka_unit_test(the_worker_merges_and_remerges),
		cmocka_unit_test(stopping_is_quick),
		cmocka_unit_test(memslots_change_while_it_runs),
		cmocka_unit_test(failed_passes_are_said),
		cmocka_unit_test(a_stop_ends_the_pass_between_blocks),
		cmocka_unit_test(a_cancelled_pass_ends_between_blocks),
	};

	return unit_run(tests);
}
