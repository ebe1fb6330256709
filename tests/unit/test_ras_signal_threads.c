/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that meet at one lost page in the SIGBUS handler.
 */
#include "twinfold/ras.h"

#include <string.h>

#include "lib/unit_ras.h"

#define SEED 7
#define THREADS 8u

/* Threads that start together. Thread i reads `page`, then writes word
 * `i * 8` of it if it is to. */
struct meeting {
	pthread_barrier_t start;
	char *page;
	bool write, wrong[THREADS];
	_Alignas(8) char right[TF_PAGE];
};

struct guest_thread {
	struct meeting *m;
	unsigned no;
	pthread_t thread;
};

static void *meet(void *arg)
{
	struct guest_thread *t = arg;
	struct meeting *m = t->m;

	pthread_barrier_wait(&m->start);
	if (m->write)
		((volatile uint64_t *)m->page)[t->no * 8] = t->no + 1;
	else
		m->wrong[t->no] = memcmp(m->page, m->right, TF_PAGE);
	return NULL;
}

static void meet_all(struct meeting *m)
{
	struct guest_thread t[THREADS];

	memset(m->wrong, 0, sizeof(m->wrong));
	pthread_barrier_init(&m->start, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i] = (struct guest_thread){ .m = m, .no = i };
		assert_int_equal(
			pthread_create(&t[i].thread, NULL, meet, &t[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i].thread, NULL);
	pthread_barrier_destroy(&m->start);
	for (unsigned i = 0; i < THREADS; i++)
		assert_false(m->wrong[i]);
}

static void threads_meet_at_a_shared_page(void **state)
{
	struct meeting m = { .write = false };
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	unit_fill(m.right, SEED);
	for (unsigned round = 1; round <= 30; round++) {
		m.page = ras_page(&w, round % 32);
		ras_lose(&w, round % 32);
		meet_all(&m);
		ras_settle(&w);
		assert_int_equal(unit_stats(&w.u).heals, round);
	}
	ras_assert_all(&w);
	assert_int_equal(unit_stats(&w.u).vmces, 0);
	ras_close(&w);
}

/* Each writes a word: whoever maps over what another has written loses it. */
static void writers_meet_at_a_shared_page(void **state)
{
	struct meeting m = { .write = true };
	_Alignas(8) char right[TF_PAGE];
	unsigned rounds = 0;
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	unit_fill(right, SEED);
	for (unsigned i = 0; i < THREADS; i++)
		((uint64_t *)right)[i * 8] = i + 1;
	for (unsigned i = 0; i < 60; i++) {
		unsigned page = 31 - i % 12; /* none is broken ahead */

		if (!(i % 12)) {
			for (unsigned j = 0; j < 32; j++)
				unit_fill(ras_page(&w, j), SEED);
			unit_passes(&w.u, 4);
		}
		m.page = ras_page(&w, page);
		/* Where the kernel was faster it has a copy of its own. */
		if (unit_state(&w.u, m.page) != TF_FRAME_SHARED)
			continue;
		rounds++;
		ras_lose(&w, page);
		meet_all(&m);
		assert_memory_equal(m.page, right, TF_PAGE);
	}
	assert_true(rounds >= 8);
	for (unsigned page = 0; page < 20; page++)
		unit_assert_page(ras_page(&w, page), SEED);
	assert_int_equal(unit_stats(&w.u).vmces, 0);
	ras_close(&w);
}

static void threads_meet_at_a_private_page(void **state)
{
	struct meeting m = { .write = true };
	uint8_t told[RAS_PAGES];
	_Alignas(8) char right[TF_PAGE] = { 0 };
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 64);
	for (unsigned i = 0; i < THREADS; i++)
		((uint64_t *)right)[i * 8] = i + 1;
	for (unsigned page = 0; page < 60; page++) {
		m.page = ras_page(&w, page);
		ras_lose(&w, page);
		meet_all(&m);
		assert_memory_equal(m.page, right, TF_PAGE);
		assert_int_equal(ras_take(&w, w.g, told), 1);
		assert_int_equal(told[page], 1);
	}
	assert_int_equal(unit_stats(&w.u).vmces, 60);
	unit_assert_page(ras_page(&w, 60), 61);
	ras_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_meet_at_a_shared_page),
		cmocka_unit_test(writers_meet_at_a_shared_page),
		cmocka_unit_test(threads_meet_at_a_private_page),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
