/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SIGBUS handler among others: whom it gives what is not its own, handlers
 * below and above it, and several engines behind it.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/unit_ras.h"

#define SEED 7

static void a_full_handler_gets_what_is_not_ours(void **state)
{
	struct sigaction cmocka, now;
	struct unit_ras w;
	char *page;

	(void)state;
	ras_use_handler(&cmocka);
	ras_chain(&w, 16, 32);
	page = ras_page_beyond();
	ras_touch(page);
	assert_int_equal(atomic_load(&ras_called), 1);
	assert_ptr_equal(ras_called_for, page);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	assert_int_equal(atomic_load(&ras_called), 1);
	assert_int_equal(raise(SIGBUS), 0);
	assert_int_equal(atomic_load(&ras_called), 2);
	munmap(page, TF_PAGE);
	ras_close(&w);
	assert_int_equal(sigaction(SIGBUS, &cmocka, &now), 0);
	assert_ptr_equal(now.sa_sigaction, ras_handler_below);
	assert_true(now.sa_flags & SA_SIGINFO);
}

static void *volatile plain_page;

static void mend(void *addr)
{
	(void)mmap(addr, TF_PAGE, PROT_READ,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void plain_handler(int sig)
{
	atomic_fetch_add(&ras_called, sig == SIGBUS);
	mend(plain_page);
}

static void use_plain(void (*handler)(int), struct sigaction *old)
{
	struct sigaction sa = { .sa_handler = handler };

	atomic_store(&ras_called, 0);
	assert_int_equal(sigaction(SIGBUS, &sa, old), 0);
}

static void a_plain_handler_gets_what_is_not_ours(void **state)
{
	struct sigaction cmocka, now;
	struct unit_ras w;

	(void)state;
	use_plain(plain_handler, &cmocka);
	ras_chain(&w, 16, 32);
	plain_page = ras_page_beyond();
	ras_touch(plain_page);
	assert_int_equal(atomic_load(&ras_called), 1);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	assert_int_equal(atomic_load(&ras_called), 1);
	munmap(plain_page, TF_PAGE);
	ras_close(&w);
	assert_int_equal(sigaction(SIGBUS, &cmocka, &now), 0);
	assert_ptr_equal(now.sa_handler, plain_handler);
}

static void errno_is_preserved(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	errno = EXDEV;
	ras_touch(w.ram);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	ras_handle(&w, &w, RAS_REQUIRED, &v);
	assert_int_equal(errno, EXDEV);
	ras_close(&w);
}

static void a_handler_over_ours_stays(void **state)
{
	struct sigaction cmocka, now,
		sa = { .sa_sigaction = ras_handler_above,
		       .sa_flags = SA_SIGINFO };
	struct unit_ras w;
	char *page;

	(void)state;
	ras_use_handler(&cmocka);
	ras_chain(&w, 16, 32);
	assert_int_equal(sigaction(SIGBUS, &sa, &ras_below), 0);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_true(atomic_load(&ras_called) >= 1);
	tf_ras_uninstall(w.u.e);
	assert_int_equal(sigaction(SIGBUS, NULL, &now), 0);
	assert_ptr_equal(now.sa_sigaction, ras_handler_above);
	page = ras_page_beyond();
	atomic_store(&ras_called, 0);
	ras_touch(page); /* above, ours, the one before */
	assert_int_equal(atomic_load(&ras_called), 2);
	munmap(page, TF_PAGE);
	assert_int_equal(sigaction(SIGBUS, &cmocka, NULL), 0);
	ras_close(&w);
}

static void two_engines(void **state)
{
	struct sigaction before, now;
	struct unit_ras a, b;

	(void)state;
	assert_int_equal(sigaction(SIGBUS, NULL, &before), 0);
	ras_chain(&a, 16, 32);
	ras_chain(&b, 16, 32);
	ras_lose(&a, 0);
	ras_lose(&b, 3);
	ras_assert_all(&b);
	ras_assert_all(&a);
	ras_settle(&a);
	ras_settle(&b);
	assert_int_equal(unit_stats(&a.u).heals, 1);
	assert_int_equal(unit_stats(&b.u).heals, 1);
	assert_int_equal(unit_stats(&a.u).vmces, 0);
	assert_int_equal(unit_stats(&b.u).vmces, 0);
	tf_ras_uninstall(a.u.e);
	ras_lose(&b, 7);
	ras_assert_all(&b);
	assert_int_equal(unit_stats(&b.u).heals, 2);
	tf_ras_uninstall(b.u.e);
	assert_int_equal(sigaction(SIGBUS, NULL, &now), 0);
	assert_ptr_equal(now.sa_sigaction, before.sa_sigaction);
	ras_close_second(&b);
	ras_close(&a);
}

struct reader {
	const struct unit_ras *w;
	atomic_bool stop;
	atomic_uint rounds, wrong;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	_Alignas(8) char right[TF_PAGE];

	unit_fill(right, SEED);
	while (!atomic_load(&r->stop)) {
		for (unsigned i = 0; i < r->w->pages; i++)
			if (memcmp(ras_page(r->w, i), right, TF_PAGE))
				atomic_fetch_add(&r->wrong, 1);
		atomic_fetch_add(&r->rounds, 1);
	}
	return NULL;
}

/* One engine comes and goes while threads are in another one's handler. */
static void installing_while_others_take_faults(void **state)
{
	struct unit_ras a, b;
	struct reader r = { .w = &b };
	pthread_t thread;

	(void)state;
	ras_chain(&a, 16, 32);
	ras_chain(&b, 16, 32);
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	for (unsigned i = 0; i < 300; i++) {
		tf_ras_uninstall(a.u.e);
		ras_lose(&b, i % 32);
		assert_int_equal(tf_ras_install(a.u.e, NULL), 0);
		/* One at a time: two might be the only two copies. */
		while (unit_stats(&b.u).heals <= i)
			sched_yield();
		ras_settle(&b);
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&r.wrong), 0);
	ras_assert_all(&b);
	ras_settle(&b);
	assert_true(unit_stats(&b.u).heals > 0);
	assert_int_equal(unit_stats(&b.u).vmces, 0);
	ras_close_second(&b);
	ras_close(&a);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_handler_gets_what_is_not_ours),
		cmocka_unit_test(a_plain_handler_gets_what_is_not_ours),
		cmocka_unit_test(errno_is_preserved),
		cmocka_unit_test(a_handler_over_ours_stays),
		cmocka_unit_test(two_engines),
		cmocka_unit_test(installing_while_others_take_faults),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
