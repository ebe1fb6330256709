/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathering: pages that broke come back into one mapping, by passes, by
 * un-merging and by removal of the memslot. Which pages, when, and what they
 * are afterwards.
 */
#include <string.h>
#include <sys/mman.h>

#include "lib/unit_gather.h"

#define MANY (4 * TF_BLOCK_PAGES)

static void passes_bring_back_what_was_written(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, MANY, &ram);
	gather_write_all(ram, MANY);
	assert_int_equal(unit_breaks(&u), MANY);
	assert_true(gather_maps_inside(ram, MANY * TF_PAGE) > MANY / 2);
	assert_true(unit_stats(&u).vmas > MANY / 2);
	gather_await(&u, MANY);
	unit_assert_run(ram, MANY, GATHER_FRESH(0));
	gather_assert_one_mapping(&u, ram, MANY);
	assert_int_equal(unit_stats(&u).vmas, 0);
	unit_passes(&u, GATHER_LONG); /* what is gathered stays so */
	assert_int_equal(unit_stats(&u).pages_gathered, MANY);
	unit_assert_run(ram, MANY, GATHER_FRESH(0));
	unit_close(&u);
}

static void unmerging_gathers_at_once(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, MANY, &ram);
	gather_write_all(ram, MANY / 4);
	assert_int_equal(tf_guest_unmerge(g, 0, MANY * TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_gathered, MANY);
	gather_assert_one_mapping(&u, ram, MANY);
	assert_int_equal(unit_stats(&u).vmas, 0);
	unit_assert_run(ram, MANY / 4, GATHER_FRESH(0));
	unit_assert_run(ram + MANY / 4 * TF_PAGE, MANY / 4, 1 + MANY / 4);
	unit_assert_run(ram + MANY / 2 * TF_PAGE, MANY / 2, 1);
	unit_close(&u);
}

/*
 * Pages that are gathered at different times may keep borders between them.
 * The estimate has to know: the budget of mappings rests on it.
 */
static void borders_between_parts_are_counted(void **state)
{
	struct unit u;
	unsigned real;
	char *ram;

	(void)state;
	unit_merged(&u, TF_BLOCK_PAGES, &ram);
	for (unsigned i = TF_BLOCK_PAGES; i-- > 0;)
		if (i % 4 < 2)
			unit_fill(ram + i * TF_PAGE, GATHER_FRESH(i));
	gather_await(&u, TF_BLOCK_PAGES / 2);
	real = gather_maps_inside(ram, TF_BLOCK_BYTES);
	assert_in_range(unit_stats(&u).vmas, real - 1, real + 2);
	for (unsigned i = TF_BLOCK_PAGES; i-- > 0;)
		if (i % 4 >= 2)
			unit_fill(ram + i * TF_PAGE, GATHER_FRESH(i));
	gather_await(&u, TF_BLOCK_PAGES);
	unit_assert_run(ram, TF_BLOCK_PAGES, GATHER_FRESH(0));
	real = gather_maps_inside(ram, TF_BLOCK_BYTES);
	assert_in_range(unit_stats(&u).vmas, real - 1, real + 2);
	unit_close(&u);
}

/* A part in the middle: what is beside it stays merged. */
static void unmerging_a_part_leaves_the_rest(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, GATHER_PAGES, &ram);
	assert_int_equal(tf_guest_unmerge(g, 4 * TF_PAGE, 8 * TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_gathered, 8);
	assert_int_equal(unit_guest_stats(g).pages_merged, GATHER_PAGES - 8);
	assert_int_equal(gather_maps_inside(ram + 4 * TF_PAGE, 8 * TF_PAGE), 1);
	gather_assert_halves(ram, GATHER_PAGES);
	unit_check(&u);
	gather_assert_alive(&u, g, ram);
	unit_close(&u);
}

static void removal_of_the_memslot_gathers(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, MANY, &ram);
	gather_write_all(ram, MANY / 2);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_int_equal(unit_stats(&u).pages_gathered, MANY);
	assert_int_equal(gather_maps_inside(ram, MANY * TF_PAGE), 1);
	unit_check(&u);
	unit_assert_run(ram, MANY / 2, GATHER_FRESH(0));
	unit_assert_run(ram + MANY / 2 * TF_PAGE, MANY / 2, 1);
	unit_slot(g, 0, 0, ram, MANY * TF_PAGE);
	unit_fill_run(ram, MANY / 2, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_guest_stats(g).pages_merged, MANY);
	unit_close(&u);
}

static void writes_after_gathering_are_seen(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, GATHER_PAGES, &ram);
	gather_write_all(ram, GATHER_PAGES);
	gather_await(&u, GATHER_PAGES);
	unit_passes(&u, 3);
	assert_int_equal(unit_pass(&u).pages_volatile, 0);
	for (unsigned i = 0; i < 3; i++)
		unit_fill(ram + 7 * i * TF_PAGE, 1);
	assert_int_equal(unit_pass(&u).pages_volatile, 3);
	unit_pass(&u);
	assert_int_equal(unit_guest_stats(g).pages_merged, 3);
	unit_fill(ram + 7 * TF_PAGE, 5);
	unit_assert_page(ram, 1);
	unit_assert_page(ram + 7 * TF_PAGE, 5);
	unit_assert_page(ram + 14 * TF_PAGE, 1);
	gather_assert_alive(&u, g, ram);
	unit_close(&u);
}

/* Frames that look written come back to the tables in two passes. */
static void gathered_pages_settle_again(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, GATHER_PAGES, &ram);
	gather_write_all(ram, GATHER_PAGES);
	gather_await(&u, GATHER_PAGES);
	unit_passes(&u, 2);
	for (unsigned i = 0; i < GATHER_PAGES; i++)
		assert_int_equal(unit_state(&u, ram + i * TF_PAGE),
				 TF_FRAME_CANDIDATE);
	unit_close(&u);
}

static void hot_frames_wait(void **state)
{
	char *ram, *hot;
	struct unit u;

	(void)state;
	unit_merged(&u, GATHER_PAGES, &ram);
	gather_write_all(ram, GATHER_PAGES);
	hot = ram + 9 * TF_PAGE;
	for (unsigned i = 0; i < 8; i++) {
		unit_fill(hot, 500 + i);
		unit_pass(&u);
	}
	assert_int_equal(unit_stats(&u).pages_gathered, GATHER_PAGES - 1);
	assert_true(gather_is_foreign(&u, hot));
	assert_int_equal(gather_maps_inside(ram, GATHER_BYTES), 3);
	unit_assert_page(hot, 507);
	gather_await(&u, GATHER_PAGES); /* it cools */
	/* What was gathered at another time keeps a border at most. */
	assert_in_range(gather_maps_inside(ram, GATHER_BYTES), 1, 2);
	unit_assert_page(hot, 507);
	unit_close(&u);
}

static void lone_pages_are_left_alone(void **state)
{
	struct tf_guest *g;
	char *ram, *lone;
	struct unit u;

	(void)state;
	g = unit_merged(&u, GATHER_PAGES, &ram);
	lone = ram + 5 * TF_PAGE;
	unit_fill(lone, GATHER_FRESH(5));
	unit_passes(&u, 8);
	assert_int_equal(unit_state(&u, lone), TF_FRAME_CANDIDATE);
	for (unsigned i = 0; i < GATHER_LONG; i++) {
		assert_false(unit_spot(&u, lone).b->foreign);
		assert_int_equal(unit_pass(&u).pages_volatile, 0);
	}
	assert_int_equal(unit_stats(&u).pages_gathered, 0);
	unit_fill(lone + TF_PAGE, GATHER_FRESH(6)); /* not alone any more */
	gather_await(&u, 2);
	assert_int_equal(gather_maps_inside(lone, 2 * TF_PAGE), 1);
	unit_assert_run(lone, 2, GATHER_FRESH(5));
	gather_assert_alive(&u, g, ram);
	unit_close(&u);
}

static void zero_pages_are_gathered_too(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, GATHER_PAGES, &ram);
	for (unsigned i = 0; i < GATHER_PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i % 3 ? GATHER_FRESH(i) : 0);
	gather_await(&u, GATHER_PAGES);
	gather_assert_one_mapping(&u, ram, GATHER_PAGES);
	unit_passes(&u, 4);
	assert_int_equal(unit_stats(&u).zero_pages, (GATHER_PAGES + 2) / 3);
	for (unsigned i = 0; i < GATHER_PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 3 ? GATHER_FRESH(i) : 0);
	unit_fill(ram + 3 * TF_PAGE, 77);
	assert_int_equal(unit_pass(&u).pages_volatile, 1);
	unit_assert_page(ram, 0);
	unit_assert_page(ram + 3 * TF_PAGE, 77);
	gather_assert_alive(&u, g, ram);
	unit_close(&u);
}

/* Pages of somebody's in use, and room below them. */
static struct {
	char *base, *used;
	unsigned taken;
} beside;

#define ROOM (64 * TF_PAGE)

/* The kernel may choose any place: let it be the one below those pages. */
static long map_beside(const struct tf_os *os, void *addr, size_t len, int prot,
		       int flags, int fd, uint64_t off)
{
	if (!addr && fd < 0 && len <= ROOM) {
		addr = beside.used - len;
		flags |= MAP_FIXED;
		beside.taken++;
	}
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static void room_beside(void)
{
	beside.base = mmap(NULL, 2 * ROOM, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(beside.base, MAP_FAILED);
	beside.used = beside.base + ROOM;
	beside.taken = 0;
	memset(beside.used, 1, ROOM);
	assert_int_equal(munmap(beside.base, ROOM), 0);
}

/* The kernel joins mappings that are alike. A run that was joined with what
 * lay beside it on its way would never join its neighbours. */
static void what_lies_beside_on_the_way_stays_apart(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, GATHER_PAGES, &ram);
	room_beside();
	unit_wrap(&u, map, map_beside);
	for (unsigned i = GATHER_HALF; i-- > 0;)
		unit_fill(ram + i * TF_PAGE, GATHER_FRESH(i));
	gather_await(&u, GATHER_HALF);
	for (unsigned i = GATHER_PAGES; i-- > GATHER_HALF;)
		unit_fill(ram + i * TF_PAGE, GATHER_FRESH(i));
	gather_await(&u, GATHER_PAGES);
	assert_true(beside.taken > 0);
	gather_assert_one_mapping(&u, ram, GATHER_PAGES);
	unit_assert_run(ram, GATHER_PAGES, GATHER_FRESH(0));
	for (size_t i = 0; i < ROOM; i++)
		assert_int_equal(beside.used[i], 1);
	unit_wrap(&u, map, tf_os_linux.map);
	assert_int_equal(munmap(beside.used, ROOM), 0);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_bring_back_what_was_written),
		cmocka_unit_test(unmerging_gathers_at_once),
		cmocka_unit_test(unmerging_a_part_leaves_the_rest),
		cmocka_unit_test(removal_of_the_memslot_gathers),
		cmocka_unit_test(writes_after_gathering_are_seen),
		cmocka_unit_test(gathered_pages_settle_again),
		cmocka_unit_test(hot_frames_wait),
		cmocka_unit_test(lone_pages_are_left_alone),
		cmocka_unit_test(zero_pages_are_gathered_too),
		cmocka_unit_test(borders_between_parts_are_counted),
		cmocka_unit_test(what_lies_beside_on_the_way_stays_apart),
	};

	return unit_run(tests);
}
