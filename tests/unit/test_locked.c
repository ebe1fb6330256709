/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that locks all its future mappings while it has an engine: nothing
 * is merged, which would only cost, the log and the counters say so, and it
 * goes on when they are unlocked.
 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/unit_world.h"

#define BLOCKS 8u
#define PAGES (BLOCKS * TF_BLOCK_PAGES)
#define HALF (PAGES / 2)

static int lock_future(void)
{
	return (int)syscall(SYS_mlockall, MCL_FUTURE);
}

/* So long a pass may go by what the last one saw. */
static void nap(void)
{
	usleep(110000);
}

/* The sanitizers' own does nothing. */
static void unlock(void)
{
	assert_int_equal(syscall(SYS_munlockall), 0);
}

/* In a child, whose memory alone is locked. 77: nothing can be locked. */
static void in_a_child(int (*run)(void))
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child)
		_exit(run());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		unit_skip("mlockall() is not allowed here");
	assert_int_equal(WEXITSTATUS(status), 0);
}

static struct tf_guest *open_equal(struct unit *u, char **ram)
{
	struct tf_guest *g = unit_simple(u, PAGES, ram);

	unit_fill_run(*ram, HALF, 1);
	unit_fill_run(*ram + HALF * TF_PAGE, HALF, 1);
	return g;
}

static void assert_bytes(const char *ram)
{
	unit_assert_run(ram, HALF, 1);
	unit_assert_run(ram + HALF * TF_PAGE, HALF, 1);
}

static int rest_and_go_on(void)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	g = open_equal(&u, &ram);
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).can_merge, 1);
	if (lock_future())
		return 77;
	nap();
	for (int i = 0; i < 4; i++)
		assert_int_equal(unit_pass(&u).complete, 0);
	assert_int_equal(unit_stats(&u).can_merge, 0);
	assert_int_equal(unit_guest_stats(g).pages_merged, 0);
	assert_int_equal(unit_guest_stats(g).pages_cow, 0);
	assert_true(unit_log_has(&u, "munlockall"));
	unlock();
	nap();
	unit_passes(&u, 4);
	assert_int_equal(unit_stats(&u).can_merge, 1);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	assert_true(unit_log_has(&u, "goes on"));
	assert_bytes(ram);
	unit_check(&u);
	return 0;
}

static void a_locked_future_is_noticed(void **state)
{
	(void)state;
	in_a_child(rest_and_go_on);
}

static atomic_bool to_lock;

/* The first page that is merged finds the future locked. */
static long lock_and_map(const struct tf_os *os, void *addr, size_t len,
			 int prot, int flags, int fd, uint64_t off)
{
	if (addr && fd >= 0 && atomic_exchange(&to_lock, false) &&
	    lock_future())
		_exit(77);
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static int lock_in_a_pass(void)
{
	struct tf_guest *g;
	struct tf_pass p = { 0 };
	struct unit u;
	char *ram;

	g = open_equal(&u, &ram);
	atomic_store(&to_lock, true);
	unit_wrap(&u, map, lock_and_map);
	for (int i = 0; atomic_load(&to_lock) && i < 8; i++)
		p = unit_pass(&u);
	assert_false(atomic_load(&to_lock));
	assert_int_equal(p.complete, 0);
	assert_int_equal(unit_stats(&u).can_merge, 0);
	assert_in_range(unit_guest_stats(g).pages_cow, 1, 2 * TF_BLOCK_PAGES);
	unlock();
	assert_bytes(ram);
	unit_check(&u);
	return 0;
}

/* No more than the pages of a block, and their twins, are merged in vain. */
static void a_pass_that_meets_it_ends(void **state)
{
	(void)state;
	in_a_child(lock_in_a_pass);
}

static long map_refused(const struct tf_os *os, void *addr, size_t len,
			int prot, int flags, int fd, uint64_t off)
{
	if (!addr)
		return -EAGAIN;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

/* Whoever may not lock so much may not map it. */
static void beyond_the_limit_it_shows_as_well(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_equal(&u, &ram);
	unit_wrap(&u, map, map_refused);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).can_merge, 0);
	assert_int_equal(unit_guest_stats(g).pages_merged, 0);
	unit_wrap(&u, map, tf_os_linux.map);
	nap();
	unit_passes(&u, 4);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	unit_close(&u);
}

static atomic_uint maps;

static long map_counted(const struct tf_os *os, void *addr, size_t len,
			int prot, int flags, int fd, uint64_t off)
{
	atomic_fetch_add(&maps, 1);
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

/* However many passes there are. */
static void passes_ask_now_and_then(void **state)
{
	uint64_t begin, took;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	unit_wrap(&u, map, map_counted);
	nap();
	atomic_store(&maps, 0);
	begin = u.os.now_ns(&u.os);
	unit_passes(&u, 8);
	took = u.os.now_ns(&u.os) - begin;
	assert_in_range(atomic_load(&maps), 1, 1 + took / 100000000);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_locked_future_is_noticed),
		cmocka_unit_test(a_pass_that_meets_it_ends),
		cmocka_unit_test(beyond_the_limit_it_shows_as_well),
		cmocka_unit_test(passes_ask_now_and_then),
	};

	return unit_run(tests);
}
