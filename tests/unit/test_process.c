/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/lib/process.c: other tests compare its counts from before and after,
 * so they must be right at once, and also when the machine is busy.
 */
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/process.h"

#define ROUNDS 100
#define DESCRIPTORS 500
#define THREADS 8
#define PAGE ((size_t)4096)

/* Takes long to end once its joiner knows: it has descriptors of its own. */
static void *linger(void *arg)
{
	if (unshare(CLONE_FILES))
		return NULL;
	for (int i = 0; i < DESCRIPTORS; i++)
		(void)!dup(0);
	return arg;
}

static void a_joined_thread_is_not_counted(void **state)
{
	unsigned before = process_threads();
	int done = 0;
	void *lingered;
	pthread_t t;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(pthread_create(&t, NULL, linger, &done), 0);
		assert_int_equal(pthread_join(t, &lingered), 0);
		assert_ptr_equal(lingered, &done);
		assert_int_equal(process_threads(), before);
	}
}

static void *hold(void *lock)
{
	pthread_mutex_lock(lock);
	pthread_mutex_unlock(lock);
	return NULL;
}

static void one_that_waits_is_counted(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	unsigned before = process_threads();
	pthread_t t[THREADS];

	(void)state;
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_create(&t[i], NULL, hold, &lock), 0);
		assert_int_equal(process_threads(), before + i + 1);
	}
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(process_threads(), before);
}

static void one_of_the_kernels_is_not_counted(void **state)
{
	unsigned before = process_threads();
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;

	(void)state;
	if (io_uring_queue_init(2, &ring, 0))
		skip();
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	assert_int_equal(io_uring_submit(&ring), 1);
	assert_int_equal(io_uring_wait_cqe(&ring, &cqe), 0);
	assert_int_equal(process_threads(), before);
	io_uring_queue_exit(&ring);
	assert_int_equal(process_threads(), before);
}

static void descriptors_are_counted(void **state)
{
	unsigned before = process_fds();
	int fd = dup(0), other = dup(0);

	(void)state;
	assert_true(fd >= 0 && other >= 0);
	assert_int_equal(process_fds(), before + 2);
	close(fd);
	assert_int_equal(process_fds(), before + 1);
	close(other);
	assert_int_equal(process_fds(), before);
}

/* Three mappings out of one, and back. */
static void mappings_are_counted(void **state)
{
	char *at = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	unsigned before = process_maps();

	(void)state;
	assert_ptr_not_equal(at, MAP_FAILED);
	assert_int_equal(mprotect(at + PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(process_maps(), before + 2);
	assert_int_equal(mprotect(at + PAGE, PAGE, PROT_NONE), 0);
	assert_int_equal(process_maps(), before);
	assert_int_equal(munmap(at, 3 * PAGE), 0);
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* A sanitizer's own thread comes with the first thread of the program. */
static int warm_up(void **state)
{
	pthread_t t;

	(void)state;
	return pthread_create(&t, NULL, do_nothing, NULL) ||
	       pthread_join(t, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_joined_thread_is_not_counted),
		cmocka_unit_test(one_that_waits_is_counted),
		cmocka_unit_test(one_of_the_kernels_is_not_counted),
		cmocka_unit_test(descriptors_are_counted),
		cmocka_unit_test(mappings_are_counted),
	};

	return cmocka_run_group_tests(tests, warm_up, NULL);
}
