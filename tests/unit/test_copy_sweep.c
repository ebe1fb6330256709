/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Second copies for many contents at once: whoever waits for the engine's lock
 * gets it between two of them, and so does who ends the pass.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "lib/unit_world.h"

#define CONTENTS 64u
#define SHARERS 4u
#define PAGES (CONTENTS * SHARERS)

/* The first copy starts `other`, and goes on when that waits. */
static struct {
	struct tf_engine *e;
	void *(*other)(void *);
	pthread_t thread;
	atomic_uint copies; /* written since */
	atomic_uint seen;   /* by the other thread */
	bool (*waits)(struct tf_engine *e);
} sweep;

static void nap(void)
{
	const struct timespec t = { .tv_nsec = 100000 };

	nanosleep(&t, NULL);
}

static long write_counted(const struct tf_os *os, int fd, const void *buf,
			  size_t len, uint64_t off)
{
	if (!atomic_fetch_add(&sweep.copies, 1)) {
		assert_int_equal(pthread_create(&sweep.thread, NULL,
						sweep.other, sweep.e),
				 0);
		while (!sweep.waits(sweep.e))
			nap();
	}
	return tf_os_linux.write_at(os, fd, buf, len, off);
}

/* Contents that all have one copy, and are to have two from now on. */
static void open_lone(struct unit *u, char **ram)
{
	unit_init(u);
	u->opts.smart_scan = 0;
	u->opts.copy_sharers = 2;
	unit_open(u);
	*ram = unit_ram(u, PAGES * TF_PAGE);
	unit_slot(unit_guest(u, NULL), 0, 0, *ram, PAGES * TF_PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(*ram + i * TF_PAGE, 1 + i % CONTENTS);
	unit_passes(u, 4);
	assert_int_equal(unit_stats(u).chains, CONTENTS);
	assert_int_equal(unit_stats(u).chain_dups, 0);
	pthread_mutex_lock(&u->e->lock);
	u->e->opts.min_copies = 2;
	u->e->lone_copies = true;
	pthread_mutex_unlock(&u->e->lock);
	sweep.e = u->e;
	atomic_store(&sweep.copies, 0);
	atomic_store(&sweep.seen, 0);
	unit_wrap(u, write_at, write_counted);
}

static void end(struct unit *u, const char *ram)
{
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, 1 + i % CONTENTS);
	unit_check(u);
	unit_close(u);
}

static void *take_lock(void *arg)
{
	struct tf_engine *e = arg;

	tf_lock_urgent(e);
	atomic_store(&sweep.seen, atomic_load(&sweep.copies));
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

static bool is_urgent(struct tf_engine *e)
{
	return atomic_load(&e->urgent);
}

static void a_fault_waits_for_one_copy(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	open_lone(&u, &ram);
	sweep.other = take_lock;
	sweep.waits = is_urgent;
	unit_pass(&u);
	pthread_join(sweep.thread, NULL);
	assert_int_equal(atomic_load(&sweep.seen), 1);
	assert_int_equal(unit_stats(&u).chain_dups, CONTENTS);
	assert_int_equal(unit_stats(&u).pages_recoverable, PAGES);
	end(&u, ram);
}

static void *cancel(void *arg)
{
	assert_int_equal(tf_engine_cancel(arg), 0);
	atomic_store(&sweep.seen, atomic_load(&sweep.copies));
	return NULL;
}

static bool is_cancelled(struct tf_engine *e)
{
	return atomic_load(&e->cancels);
}

static void whoever_ends_the_pass_too(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	open_lone(&u, &ram);
	sweep.other = cancel;
	sweep.waits = is_cancelled;
	unit_pass(&u);
	pthread_join(sweep.thread, NULL);
	assert_int_equal(atomic_load(&sweep.seen), 1);
	assert_int_equal(unit_stats(&u).chain_dups, 1);
	unit_pass(&u);
	assert_int_equal(unit_stats(&u).chain_dups, CONTENTS);
	end(&u, ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fault_waits_for_one_copy),
		cmocka_unit_test(whoever_ends_the_pass_too),
	};

	return unit_run(tests);
}
