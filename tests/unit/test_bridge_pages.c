/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages become bridges: settled ones of their own content, whose
 * neighbours are promoted. All others are left where they are.
 */
#include <errno.h>
#include <string.h>

#include "lib/unit_road.h"

/* Page 3 is made unfit before anything is promoted: no bridge there. */
static void assert_gap_at_3(struct road *r)
{
	unit_passes(&r->u, 4);
	assert_int_equal(unit_stats(&r->u).pages_sharing, ROAD_CONTENTS);
	assert_false(road_is_bridge(r, 3));
	assert_true(road_is_bridge(r, 1));
	assert_int_equal(road_bridged(r), ROAD_CONTENTS - 2);
}

/* The road, unique pages and all, but with no twins yet. */
static void road_without_twins(struct road *r)
{
	road_open(r);
	for (unsigned i = 0; i < r->pages; i++)
		if (!road_is_unique(r, i))
			unit_fill(road_page(r, i), 900 + i);
	unit_passes(&r->u, 3);
	for (unsigned i = 0; i < r->pages; i++)
		assert_int_equal(unit_state(&r->u, road_page(r, i)),
				 TF_FRAME_CANDIDATE);
}

static void add_twins(struct road *r)
{
	for (unsigned i = 0; i < r->pages; i++)
		if (!road_is_unique(r, i))
			unit_fill(road_page(r, i), road_content(r, i));
}

/* Candidates of earlier passes. */
static void pages_that_settled_long_ago_are_bridged(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_without_twins(&r);
	assert_int_equal(road_bridged(&r), 0);
	add_twins(&r);
	unit_passes(&r.u, 2);
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 1);
	assert_int_equal(road_maps(&r), 1);
	road_close(&r);
}

static void pages_that_broke_are_left(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_without_twins(&r);
	pthread_mutex_lock(&r.u.e->lock);
	tf_block_find(r.u.e->regions[0], 0)
		->frames[ROAD_CONTENTS + 1 + 3]
		.history = 1;
	pthread_mutex_unlock(&r.u.e->lock);
	add_twins(&r);
	assert_gap_at_3(&r);
	road_close(&r);
}

/* It was a candidate, and then it was written. */
static void pages_that_are_written_now_and_then_are_left(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	r.u.opts.smart_scan = 1;
	road_without_twins(&r);
	unit_fill(road_page(&r, 3), ROAD_UNIQUE(3));
	unit_passes(&r.u, 3);
	assert_int_equal(unit_spot(&r.u, road_page(&r, 3)).was.vain, 1);
	assert_int_equal(unit_state(&r.u, road_page(&r, 3)),
			 TF_FRAME_CANDIDATE);
	add_twins(&r);
	assert_gap_at_3(&r);
	road_close(&r);
}

static void volatile_pages_are_left(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	unit_pass(&r.u);
	unit_fill(road_page(&r, 3), ROAD_UNIQUE(3));
	unit_pass(&r.u);
	assert_int_equal(unit_state(&r.u, road_page(&r, 3)), TF_FRAME_NEW);
	assert_gap_at_3(&r);
	road_close(&r);
}

static void pinned_pages_are_left(void **state)
{
	struct road r;
	uint64_t gpa;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	gpa = (uint64_t)(road_page(&r, 3) - r.ram);
	assert_int_equal(tf_guest_pin(r.g, gpa, TF_PAGE), 0);
	assert_gap_at_3(&r);
	assert_int_equal(tf_guest_unpin(r.g, gpa, TF_PAGE), 0);
	road_close(&r);
}

static void holes_and_zeros_are_left(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	unit_fill(road_page(&r, 3), 0);
	assert_gap_at_3(&r);
	assert_int_equal(unit_stats(&r.u).zero_pages, 1);
	unit_fill(road_page(&r, 3), ROAD_UNIQUE(3));
	road_close(&r);
}

/* The seam finds the page that holds this content different. */
static char changed[TF_PAGE];

static int never_equal(const struct tf_os *os, const void *a, const void *b,
		       size_t len)
{
	int equal = tf_os_linux.equal(os, a, b, len);

	return equal == 1 && *(const uint64_t *)a == *(uint64_t *)changed ?
		       0 :
		       equal;
}

/* One end of a gap has changed: what was to bridge it stays where it is. */
static void a_bridge_to_nowhere_is_undone(void **state)
{
	struct tf_stats s;
	struct road r;

	(void)state;
	road_init(&r, 1);
	unit_fill(changed,
		  1 + ROAD_CONTENTS - 1); /* the last page of the road */
	r.u.os.equal = never_equal;
	road_open(&r);
	unit_passes(&r.u, 2);
	s = unit_stats(&r.u);
	assert_int_equal(s.pages_sharing, ROAD_CONTENTS - 1);
	assert_int_equal(road_bridged(&r), ROAD_CONTENTS - 2);
	assert_false(road_is_bridge(&r, r.pages - 2));
	assert_int_equal(s.fence_changed, 2); /* a pair, and no bridge */
	unit_wrap(&r.u, equal, tf_os_linux.equal);
	unit_passes(&r.u, 3);
	assert_int_equal(unit_stats(&r.u).pages_sharing, ROAD_CONTENTS);
	assert_int_equal(unit_stats(&r.u).pages_unshared, 1);
	road_close(&r);
}

/* A device writes to a settled page, which write tracking does not see. */
static char *hit;

static long move_after_dma(const struct tf_os *os, int uffd, void *to,
			   void *from, size_t len)
{
	long moved = tf_os_linux.uffd_move(os, uffd, to, from, len);

	if (hit >= (char *)from && hit < (char *)from + moved && moved > 0) {
		((char *)to)[hit - (char *)from + 9] ^= 1;
		hit = NULL;
	}
	return moved;
}

static void a_page_that_changed_unseen_is_left(void **state)
{
	struct road r;
	char *page;

	(void)state;
	road_init(&r, 1);
	r.u.os.uffd_move = move_after_dma;
	road_open(&r);
	unit_pass(&r.u);
	page = hit = road_page(&r, 3);
	unit_pass(&r.u);
	assert_null(hit);
	assert_false(road_is_bridge(&r, 3));
	assert_true(unit_stats(&r.u).fence_changed >= 1);
	assert_int_equal(unit_stats(&r.u).pages_sharing, ROAD_CONTENTS);
	page[9] ^= 1;
	unit_assert_page(page, ROAD_UNIQUE(3));
	road_close(&r);
}

static int read_two_nodes(const struct tf_os *os, const char *path, char **text)
{
	if (strcmp(path, "/sys/devices/system/node/online") != 0)
		return tf_os_linux.read_file(os, path, text);
	*text = strdup("0-1\n");
	return *text ? 0 : -ENOMEM;
}

/* The page that holds this content is on the other node. */
static int node_of_changed(const struct tf_os *os, void *addr)
{
	(void)os;
	return *(volatile uint64_t *)addr == *(uint64_t *)changed;
}

static void a_bridge_is_on_its_neighbours_node(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	unit_fill(changed, ROAD_UNIQUE(3));
	r.u.opts.merge_across_nodes = 0;
	r.u.os.read_file = read_two_nodes;
	r.u.os.node = node_of_changed;
	road_open(&r);
	assert_gap_at_3(&r);
	road_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_that_settled_long_ago_are_bridged),
		cmocka_unit_test(pages_that_broke_are_left),
		cmocka_unit_test(pages_that_are_written_now_and_then_are_left),
		cmocka_unit_test(volatile_pages_are_left),
		cmocka_unit_test(pinned_pages_are_left),
		cmocka_unit_test(holes_and_zeros_are_left),
		cmocka_unit_test(a_bridge_to_nowhere_is_undone),
		cmocka_unit_test(a_page_that_changed_unseen_is_left),
		cmocka_unit_test(a_bridge_is_on_its_neighbours_node),
	};

	return unit_run(tests);
}
