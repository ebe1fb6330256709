/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guarded reads: memory that raises SIGBUS (a file mapping beyond the end of
 * its file) ends a read with an error, and nothing else.
 */
#include "engine/guard.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/unit_world.h"

static const struct tf_os *const os = &tf_os_linux;
static sigjmp_buf outside;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	tf_guard_catch(info->si_addr);
	siglongjmp(outside, 1);
}

struct bad {
	int fd;
	char *page; /* cannot be read */
	char good[TF_PAGE];
	struct sigaction old;
};

static void bad_open(struct bad *b)
{
	struct sigaction sa = { .sa_sigaction = on_bus,
				.sa_flags = SA_SIGINFO };

	b->fd = os->memfd(os, "unit", 0);
	assert_true(b->fd >= 0);
	b->page = mmap(NULL, TF_PAGE, PROT_READ, MAP_SHARED, b->fd, 0);
	assert_ptr_not_equal(b->page, MAP_FAILED);
	assert_int_equal(sigaction(SIGBUS, &sa, &b->old), 0);
	unit_fill(b->good, 1);
}

static void bad_close(struct bad *b)
{
	sigaction(SIGBUS, &b->old, NULL);
	munmap(b->page, TF_PAGE);
	close(b->fd);
}

static bool bus_is_blocked(void)
{
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	return sigismember(&now, SIGBUS);
}

static void reads_of_lost_memory_fail(void **state)
{
	uint8_t secret[TF_SECRET_BYTES] = { 1 };
	uint64_t hash = 42;
	char to[TF_PAGE];
	struct bad b;

	(void)state;
	bad_open(&b);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(os->hash(os, b.page, secret, &hash),
				 -EHWPOISON);
		assert_int_equal(os->equal(os, b.page, b.good, TF_PAGE),
				 -EHWPOISON);
		assert_int_equal(os->equal(os, b.good, b.page, TF_PAGE),
				 -EHWPOISON);
		assert_int_equal(os->copy(os, to, b.page, TF_PAGE), -EHWPOISON);
		assert_null(tf_guard_armed);
		assert_false(bus_is_blocked());
	}
	assert_int_equal(hash, 42);
	bad_close(&b);
}

static void reads_of_good_memory_succeed(void **state)
{
	uint8_t secret[TF_SECRET_BYTES] = { 1 };
	char to[TF_PAGE] = { 0 };
	uint64_t hash = 0;
	struct bad b;

	(void)state;
	bad_open(&b);
	assert_int_equal(os->copy(os, to, b.good, TF_PAGE), 0);
	assert_int_equal(os->equal(os, to, b.good, TF_PAGE), 1);
	to[4095] ^= 1;
	assert_int_equal(os->equal(os, to, b.good, TF_PAGE), 0);
	assert_int_equal(os->hash(os, b.good, secret, &hash), 0);
	assert_true(hash != 0);
	assert_null(tf_guard_armed);
	bad_close(&b);
}

/* A fault elsewhere is not the guard's: the handler goes on. */
static void other_faults_are_not_caught(void **state)
{
	struct tf_guard g = { 0 };
	struct bad b;

	(void)state;
	bad_open(&b);
	tf_guard_catch(b.page); /* no guard at all */
	g.lo[0] = (uintptr_t)b.good;
	g.hi[0] = g.lo[0] + TF_PAGE;
	tf_guard_armed = &g;
	tf_guard_catch(b.page);
	tf_guard_catch((void *)g.hi[0]); /* one past */
	assert_ptr_equal(tf_guard_armed, &g);
	tf_guard_armed = NULL;
	if (!sigsetjmp(outside, 1)) {
		(void)*(volatile char *)b.page;
		fail_msg("the page could be read");
	}
	bad_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_of_lost_memory_fail),
		cmocka_unit_test(reads_of_good_memory_succeed),
		cmocka_unit_test(other_faults_are_not_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
