/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fence: who touches a fenced page sleeps, and finds it as it was. */
#include "engine/fence.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/region.h"
#include "lib/unit_world.h"

#define PAGES 16u

/* A populated page in an armed block; leaves the engine's lock held. */
static struct tf_block *armed(struct unit *u, char **ram)
{
	struct tf_block *b;

	unit_simple(u, PAGES, ram);
	unit_fill_run(*ram, 4, 1);
	unit_pass(u);
	b = unit_spot(u, *ram).b;
	pthread_mutex_lock(&u->e->lock);
	assert_int_equal(tf_fence_arm(b), 0);
	assert_true(b->armed);
	assert_int_equal(tf_fence_arm(b), 0);
	return b;
}

struct toucher {
	pthread_t thread;
	char *page;
	uint64_t seed;
	bool write;
	_Atomic bool done;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	if (t->write)
		((volatile char *)t->page)[7] ^= 1;
	else
		(void)*(volatile char *)t->page;
	t->done = true;
	return NULL;
}

static void start(struct toucher *t)
{
	assert_int_equal(pthread_create(&t->thread, NULL, touch, t), 0);
	usleep(20000);
	assert_false(t->done);
}

static void fenced_pages_put_writers_to_sleep(void **state)
{
	struct toucher reader = { 0 }, writer = { .write = true };
	struct unit u;
	char *ram;

	(void)state;
	armed(&u, &ram);
	assert_int_equal(tf_fence_close(u.e, ram, 4, 0), 4);
	unit_assert_run(tf_stage(u.e->staging, 0), 4, 1);
	reader.page = ram;
	writer.page = ram + TF_PAGE;
	start(&reader);
	start(&writer);
	assert_int_equal(tf_fence_put_back(u.e->regions[0], u.e->uffd_guest,
					   ram, 4, 0),
			 0);
	tf_fence_open(u.e, ram, ram + 4 * TF_PAGE);
	pthread_mutex_unlock(&u.e->lock);
	pthread_join(reader.thread, NULL);
	pthread_join(writer.thread, NULL);
	ram[TF_PAGE + 7] ^= 1;
	unit_assert_run(ram, 4, 1);
	unit_close(&u);
}

/* A write behind the fence is reported by the next pass. */
static void writes_behind_the_fence_are_seen(void **state)
{
	struct toucher writer = { .write = true };
	struct unit u;
	char *ram;

	(void)state;
	armed(&u, &ram);
	pthread_mutex_unlock(&u.e->lock);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	pthread_mutex_lock(&u.e->lock);
	assert_int_equal(tf_fence_close(u.e, ram, 1, 0), 1);
	writer.page = ram;
	start(&writer);
	assert_int_equal(tf_fence_put_back(u.e->regions[0], u.e->uffd_guest,
					   ram, 1, 0),
			 0);
	tf_fence_open(u.e, ram, ram + TF_PAGE);
	pthread_mutex_unlock(&u.e->lock);
	pthread_join(writer.thread, NULL);
	unit_pass(&u);
	unit_assert_fresh(&u, ram);
	unit_close(&u);
}

static void holes_of_an_armed_block_are_plugged(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	armed(&u, &ram);
	/* The lock is held: no resolver can serve these. */
	for (unsigned i = 4; i < PAGES; i++)
		assert_int_equal(*(volatile char *)(ram + i * TF_PAGE), 0);
	pthread_mutex_unlock(&u.e->lock);
	unit_close(&u);
}

static void holes_are_plugged_without_pagemap_scan(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.scan_mode = TF_SCAN_HASH;
	unit_open(&u);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, PAGES * TF_PAGE);
	unit_fill(ram + 3 * TF_PAGE, 1);
	unit_pass(&u);
	pthread_mutex_lock(&u.e->lock);
	assert_int_equal(tf_fence_arm(tf_block_find(u.e->regions[0], 0)), 0);
	for (unsigned i = 0; i < PAGES; i++)
		(void)*(volatile char *)(ram + i * TF_PAGE);
	pthread_mutex_unlock(&u.e->lock);
	unit_assert_page(ram + 3 * TF_PAGE, 1);
	unit_assert_page(ram + 4 * TF_PAGE, 0);
	unit_close(&u);
}

/* Memory that was dropped behind the engine's back reads as zeros. */
static void stray_holes_are_served(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	armed(&u, &ram);
	pthread_mutex_unlock(&u.e->lock);
	assert_int_equal(madvise(ram, 2 * TF_PAGE, MADV_DONTNEED), 0);
	unit_assert_page(ram, 0);
	unit_fill(ram + TF_PAGE, 9);
	unit_assert_page(ram + TF_PAGE, 9);
	unit_passes(&u, 3);
	unit_assert_page(ram + TF_PAGE, 9);
	unit_close(&u);
}

static void a_hole_cannot_be_fenced(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	pthread_mutex_lock(&u.e->lock);
	assert_true(tf_fence_close(u.e, ram, 1, 0) < 0);
	pthread_mutex_unlock(&u.e->lock);
	unit_close(&u);
}

static int register_fails(const struct tf_os *os, int uffd, void *addr,
			  size_t len, int mode)
{
	(void)os;
	(void)uffd;
	(void)addr;
	(void)len;
	(void)mode;
	return -ENOMEM;
}

static void a_block_that_cannot_be_armed_is_left(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_simple(&u, PAGES, &ram);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_fill(ram + 2 * TF_PAGE, 0);
	unit_wrap(&u, uffd_register, register_fails);
	unit_passes(&u, 4);
	assert_int_equal(unit_stats(&u).pages_shared, 0);
	assert_int_equal(unit_stats(&u).zero_pages, 0);
	unit_wrap(&u, uffd_register, tf_os_linux.uffd_register);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).pages_shared, 1);
	assert_int_equal(unit_stats(&u).zero_pages, 1);
	unit_close(&u);
}

static int advise_fails(const struct tf_os *os, void *addr, size_t len,
			int advice)
{
	(void)os;
	(void)addr;
	(void)len;
	return advice == MADV_DONTFORK ? -ENOMEM : 0;
}

static long map_fails(const struct tf_os *os, void *addr, size_t len, int prot,
		      int flags, int fd, uint64_t off)
{
	if (len == TF_STAGE_PAGES * TF_PAGE)
		return -ENOMEM;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static void no_staging_no_engine(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	unit_wrap(&u, advise, advise_fails);
	assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e), -ENOMEM);
	u.os = tf_os_linux;
	unit_wrap(&u, map, map_fails);
	assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e), -ENOMEM);
	assert_null(u.e);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fenced_pages_put_writers_to_sleep),
		cmocka_unit_test(writes_behind_the_fence_are_seen),
		cmocka_unit_test(holes_of_an_armed_block_are_plugged),
		cmocka_unit_test(holes_are_plugged_without_pagemap_scan),
		cmocka_unit_test(stray_holes_are_served),
		cmocka_unit_test(a_hole_cannot_be_fenced),
		cmocka_unit_test(a_block_that_cannot_be_armed_is_left),
		cmocka_unit_test(no_staging_no_engine),
	};

	return unit_run(tests);
}
