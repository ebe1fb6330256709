/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RAM that breaks and is gathered. Takes the engine's locks only to gather. */
#include "lib/unit_gather.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gather.h"

unsigned gather_maps_inside(const char *ram, size_t bytes)
{
	uintptr_t from = (uintptr_t)ram, to = from + bytes;
	unsigned n = 0;
	char *text;

	assert_int_equal(tf_os_linux.read_file(&tf_os_linux, "/proc/self/maps",
					       &text),
			 0);
	for (char *line = text; line; line = strchr(line, '\n')) {
		unsigned long start, end;

		line += *line == '\n';
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && start < to &&
		    end > from)
			n++;
	}
	free(text);
	return n;
}

/* A fixed random order of [0, n). */
static void shuffle(unsigned *order, unsigned n)
{
	uint64_t x = UINT64_C(88172645463325252);

	for (unsigned i = 0; i < n; i++) {
		unsigned j;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		j = (unsigned)(x % (i + 1));
		order[i] = order[j];
		order[j] = i;
	}
}

void gather_write_all(char *ram, unsigned n)
{
	unsigned *order = malloc(n * sizeof(*order));

	assert_non_null(order);
	shuffle(order, n);
	for (unsigned i = 0; i < n; i++)
		unit_fill(ram + order[i] * TF_PAGE, GATHER_FRESH(order[i]));
	free(order);
}

bool gather_is_foreign(struct unit *u, const char *page)
{
	return unit_spot(u, page).was.flags & TF_FRAME_FOREIGN;
}

void gather_await(struct unit *u, uint64_t n)
{
	for (unsigned i = 0; i < GATHER_LONG; i++) {
		if (unit_stats(u).pages_gathered >= n)
			break;
		unit_pass(u);
	}
	assert_int_equal(unit_stats(u).pages_gathered, n);
}

void gather_assert_one_mapping(struct unit *u, const char *ram, unsigned n)
{
	assert_int_equal(gather_maps_inside(ram, n * TF_PAGE), 1);
	for (unsigned i = 0; i < n; i++)
		assert_false(gather_is_foreign(u, ram + i * TF_PAGE));
	unit_check(u);
}

void gather_assert_halves(const char *ram, unsigned n)
{
	unit_assert_run(ram, n / 2, 1);
	unit_assert_run(ram + n / 2 * TF_PAGE, n / 2, 1);
}

void gather_fill_halves(char *ram)
{
	unit_fill_run(ram, GATHER_HALF, 1);
	unit_fill_run(ram + GATHER_HALF * TF_PAGE, GATHER_HALF, 1);
}

void gather_assert_alive(struct unit *u, struct tf_guest *g, char *ram)
{
	gather_fill_halves(ram);
	unit_passes(u, 4);
	assert_int_equal(unit_guest_stats(g).pages_merged, GATHER_PAGES);
	assert_int_equal(unit_stats(u).pages_cow, 0);
	gather_assert_halves(ram, GATHER_PAGES);
	assert_int_equal(tf_guest_unmerge(g, 0, GATHER_BYTES), 0);
	gather_assert_halves(ram, GATHER_PAGES);
	gather_assert_one_mapping(u, ram, GATHER_PAGES);
}

void gather_now(struct unit *u, const char *ram)
{
	struct tf_block *b = unit_spot(u, ram).b;

	pthread_mutex_lock(&u->e->pass_lock);
	pthread_mutex_lock(&u->e->lock);
	tf_gather_block(b, true);
	pthread_mutex_unlock(&u->e->lock);
	pthread_mutex_unlock(&u->e->pass_lock);
}
