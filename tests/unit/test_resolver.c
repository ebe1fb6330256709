/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The resolver: writers from several threads, and forked children.
 *
 * ctest-timeout: 30
 */
#include "engine/resolver.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/unit_world.h"

#define PAGES 64u
#define WRITERS 4u

struct writer {
	pthread_t thread;
	char *ram;
	unsigned no;
};

/* Each thread writes its own byte of every page. */
static void *write_all(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < PAGES; i++)
		w->ram[i * TF_PAGE + w->no] = (char)(w->no + 1);
	return NULL;
}

static void writers_of_one_page_all_get_through(void **state)
{
	struct writer w[WRITERS];
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .ram = ram, .no = i };
		assert_int_equal(pthread_create(&w[i].thread, NULL, write_all,
						&w[i]),
				 0);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(w[i].thread, NULL);
	for (unsigned i = 0; i < PAGES; i++)
		for (unsigned k = 0; k < WRITERS; k++)
			assert_int_equal(ram[i * TF_PAGE + k], k + 1);
	assert_int_equal(unit_breaks(&u), PAGES);
	assert_int_equal(unit_stats(&u).chains, 0);
	unit_close(&u);
}

/* A kernel's write breaks sharing like any other. */
static void system_calls_may_write(void **state)
{
	struct unit u;
	int fd[2];
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "hello", 5), 5);
	assert_int_equal(read(fd[0], ram + 100, 5), 5);
	assert_memory_equal(ram + 100, "hello", 5);
	unit_assert_page(ram + PAGES / 2 * TF_PAGE, 1);
	assert_int_equal(unit_stats(&u).breaks, 1);
	close(fd[0]);
	close(fd[1]);
	unit_close(&u);
}

/* How many children are followed; the resolver may still be at it. */
static void assert_forks(struct unit *u, size_t want)
{
	size_t n = want + 1;

	for (int i = 0; i < 1000 && n != want; i++) {
		pthread_mutex_lock(&u->e->forks.lock);
		n = u->e->forks.n;
		pthread_mutex_unlock(&u->e->forks.lock);
		usleep(1000);
	}
	assert_int_equal(n, want);
}

static bool page_is(const char *page, uint64_t seed)
{
	char want[TF_PAGE];

	unit_fill(want, seed);
	return memcmp(page, want, TF_PAGE) == 0;
}

/*
 * In the child: read, write, read again, then tell the parent and wait until
 * it has broken and unmerged everything. 0 if every byte was right.
 */
static int be_child(char *ram, int ready, int go)
{
	char c = 0;
	int bad = 0;

	for (unsigned i = 0; i < PAGES; i++)
		bad |= !page_is(ram + i * TF_PAGE, 1 + i % (PAGES / 2));
	unit_fill(ram, 500);
	bad |= !page_is(ram, 500);
	bad |= write(ready, &c, 1) != 1;
	bad |= read(go, &c, 1) != 1;
	bad |= !page_is(ram, 500);
	for (unsigned i = 1; i < PAGES; i++)
		bad |= !page_is(ram + i * TF_PAGE, 1 + i % (PAGES / 2));
	return bad;
}

static void forked_children_keep_their_bytes(void **state)
{
	int ready[2], go[2], status;
	struct tf_guest *g;
	uint64_t blocks;
	struct unit u;
	pid_t child;
	char c, *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	if (!u.e->forks.events) {
		unit_close(&u);
		unit_skip("this process may not have fork events");
	}
	assert_int_equal(pipe(ready) | pipe(go), 0);
	blocks = unit_store_blocks(u.e);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(be_child(ram, ready[1], go[0]));
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_forks(&u, 1);
	unit_assert_page(ram, 1); /* the child's write is the child's */
	assert_int_equal(tf_guest_unmerge(g, 0, PAGES * TF_PAGE), 0);
	unit_fill_run(ram, PAGES, 900);
	unit_passes(&u, 2);
	/* It may still read the old slots: nothing was punched. */
	assert_forks(&u, 1);
	assert_true(unit_store_blocks(u.e) >= blocks);
	assert_int_equal(write(go[1], &c, 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	unit_passes(&u, 2);
	assert_forks(&u, 0);
	assert_int_equal(unit_store_blocks(u.e), 0);
	unit_assert_run(ram, PAGES, 900);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
	unit_close(&u);
}

/* More children than the first list holds; all end before the engine. */
static void many_children_are_followed(void **state)
{
	pid_t child[6];
	int go[2];
	struct unit u;
	char c, *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	if (!u.e->forks.events) {
		unit_close(&u);
		unit_skip("this process may not have fork events");
	}
	assert_int_equal(pipe(go), 0);
	for (int i = 0; i < 6; i++) {
		child[i] = fork();
		if (!child[i]) {
			close(go[1]);
			_exit(read(go[0], &c, 1) != 0);
		}
	}
	assert_forks(&u, 6);
	unit_pass(&u);
	assert_forks(&u, 6);
	close(go[1]);
	close(go[0]);
	for (int i = 0; i < 6; i++) {
		int status;

		assert_int_equal(waitpid(child[i], &status, 0), child[i]);
		assert_int_equal(status, 0);
	}
	unit_pass(&u);
	assert_forks(&u, 0);
	unit_close(&u);
}

static _Atomic bool forking;

/* Break and merge again, as fast as it goes. */
static void *churn(void *arg)
{
	struct unit *u = arg;

	while (forking) {
		char *ram = u->ram[0].base;

		unit_fill_run(ram, PAGES / 2, 1);
		for (int i = 0; i < 2; i++)
			tf_engine_pass(u->e, NULL);
	}
	return NULL;
}

/*
 * fork() holds the allocator's locks until the engine has heard of the child:
 * whoever hears of it may wait neither for memory nor for the engine's lock.
 */
static void forks_and_breaks_do_not_lock_up(void **state)
{
	pthread_t thread;
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	forking = true;
	assert_int_equal(pthread_create(&thread, NULL, churn, &u), 0);
	for (int i = 0; i < 200; i++) {
		int status;
		pid_t child = fork();

		if (!child)
			_exit(!page_is(ram + PAGES / 2 * TF_PAGE, 1));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	forking = false;
	pthread_join(thread, NULL);
	unit_check(&u);
	unit_assert_run(ram, PAGES / 2, 1);
	unit_close(&u);
}

/* Children that outlive their engine keep reading. */
static void a_child_may_outlive_the_engine(void **state)
{
	int go[2], status;
	struct unit u;
	pid_t child;
	char c = 0, *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	if (!u.e->forks.events) {
		unit_close(&u);
		unit_skip("this process may not have fork events");
	}
	assert_int_equal(pipe(go), 0);
	child = fork();
	if (!child) {
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		unit_fill(ram + TF_PAGE, 77);
		_exit(!page_is(ram, 1) || !page_is(ram + TF_PAGE, 77));
	}
	tf_engine_destroy(u.e);
	u.e = NULL;
	assert_int_equal(write(go[1], &c, 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(go[0]);
	close(go[1]);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writers_of_one_page_all_get_through),
		cmocka_unit_test(system_calls_may_write),
		cmocka_unit_test(forked_children_keep_their_bytes),
		cmocka_unit_test(many_children_are_followed),
		cmocka_unit_test(forks_and_breaks_do_not_lock_up),
		cmocka_unit_test(a_child_may_outlive_the_engine),
	};

	return unit_run(tests);
}
