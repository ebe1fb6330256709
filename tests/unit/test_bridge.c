/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bridges: unique pages in a gap between two promoted ones. Contents [1, n]
 * lie side by side first; then once more, in the same order, with a gap of
 * unique pages before each but the first: that part is the road.
 */
#include <errno.h>
#include <string.h>

#include "engine/breaks.h"
#include "engine/bridge.h"
#include "engine/chain.h"
#include "lib/unit_gather.h"

#define CONTENTS 6u
#define UNIQUE(i) (100000u + (i))

struct road {
	struct unit u;
	struct tf_guest *g;
	char *ram, *start; /* of the road */
	unsigned gap, pages;
};

static void road_init(struct road *r, unsigned gap)
{
	*r = (struct road){ .gap = gap };
	r->pages = CONTENTS + (CONTENTS - 1) * gap;
	unit_init(&r->u);
	r->u.opts.smart_scan = 0;
}

static bool is_unique(const struct road *r, unsigned i)
{
	return i % (r->gap + 1) != 0;
}

static uint64_t content(const struct road *r, unsigned i)
{
	return is_unique(r, i) ? UNIQUE(i) : 1 + i / (r->gap + 1);
}

static char *page_of(const struct road *r, unsigned i)
{
	return r->start + i * TF_PAGE;
}

/* A hole after the first part: the two never touch. */
static void road_open(struct road *r)
{
	const unsigned all = CONTENTS + 1 + r->pages + CONTENTS;

	unit_open(&r->u);
	r->g = unit_guest(&r->u, NULL);
	r->ram = unit_ram(&r->u, all * TF_PAGE);
	r->start = r->ram + (CONTENTS + 1) * TF_PAGE;
	unit_slot(r->g, 0, 0, r->ram, all * TF_PAGE);
	unit_fill_run(r->ram, CONTENTS, 1);
	for (unsigned i = 0; i < r->pages; i++)
		unit_fill(page_of(r, i), content(r, i));
}

static void road_build(struct road *r, unsigned gap)
{
	road_init(r, gap);
	road_open(r);
	unit_passes(&r->u, 2);
}

static void assert_road(const struct road *r)
{
	unit_assert_run(r->ram, CONTENTS, 1);
	for (unsigned i = 0; i < r->pages; i++)
		unit_assert_page(page_of(r, i), content(r, i));
}

static void road_close(struct road *r)
{
	assert_road(r);
	unit_close(&r->u);
}

static uint32_t slot_of(struct road *r, unsigned i)
{
	struct unit_spot s = unit_spot(&r->u, page_of(r, i));

	assert_int_equal(s.was.state, TF_FRAME_SHARED);
	return tf_dup_get(r->u.e, s.was.shared.dup)->slot;
}

static bool is_bridge(struct road *r, unsigned i)
{
	struct unit_spot s = unit_spot(&r->u, page_of(r, i));

	return s.was.state == TF_FRAME_SHARED &&
	       tf_dup_get(r->u.e, s.was.shared.dup)->bridge;
}

static uint64_t bridged(struct road *r)
{
	uint64_t n = unit_stats(&r->u).pages_bridged;

	assert_int_equal(unit_guest_stats(r->g).pages_bridged, n);
	return n;
}

static unsigned road_maps(const struct road *r)
{
	return gather_maps_inside(r->start, r->pages * TF_PAGE);
}

static void a_gap_is_bridged(void **state)
{
	struct tf_stats s;
	struct road r;

	(void)state;
	road_build(&r, 1);
	for (unsigned i = 0; i < r.pages; i++) {
		assert_int_equal(is_bridge(&r, i), is_unique(&r, i));
		assert_int_equal(slot_of(&r, i), slot_of(&r, 0) + i);
	}
	assert_int_equal(bridged(&r), CONTENTS - 1);
	assert_int_equal(road_maps(&r), 1);
	s = unit_stats(&r.u);
	assert_int_equal(s.pages_shared, CONTENTS);
	assert_int_equal(s.pages_sharing, CONTENTS);
	assert_int_equal(s.pages_recoverable, 0);
	assert_int_equal(s.pages_unshared, 0);
	assert_int_equal(unit_guest_stats(r.g).pages_merged, 2 * CONTENTS);
	/* The first part lies in slots with gaps: a mapping for each page. */
	assert_int_equal(s.vmas, CONTENTS + 1 + 1 + 1);
	road_close(&r);
}

static void a_pass_says_what_it_bridged(void **state)
{
	struct tf_pass p;
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	unit_pass(&r.u);
	p = unit_pass(&r.u);
	assert_int_equal(p.bridged, CONTENTS - 1);
	assert_int_equal(p.merged, 2 * CONTENTS);
	assert_int_equal(p.promoted, CONTENTS);
	assert_int_equal(p.changed + p.busy, 0);
	road_close(&r);
}

/* The page moves from the guest's memory to the store, and is freed there. */
static void a_bridge_takes_no_memory_of_its_own(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	unit_pass(&r.u);
	assert_true(unit_smaps(r.start, "Anonymous:") >= 4ul * r.pages);
	unit_pass(&r.u);
	assert_int_equal(unit_store_blocks(r.u.e), (2 * CONTENTS - 1) * 8);
	assert_int_equal(unit_smaps(r.start, "Anonymous:"), 0);
	assert_int_equal(unit_smaps(r.u.e->staging, "Anonymous:"), 0);
	road_close(&r);
}

/* As when one alias of a healthy slot was lost. */
static void mapped_again_it_is_still_one(void **state)
{
	struct unit_spot s;
	struct road r;
	uint64_t before;

	(void)state;
	road_build(&r, 1);
	before = bridged(&r);
	assert_int_equal(before, CONTENTS - 1);
	s = unit_spot(&r.u, page_of(&r, 1));
	pthread_mutex_lock(&r.u.e->lock);
	assert_int_equal(tf_dup_reserve(r.u.e, s.was.shared.dup), 0);
	assert_int_equal(tf_rehome(s.b, s.page, s.was.shared.dup), 0);
	pthread_mutex_unlock(&r.u.e->lock);
	unit_check(&r.u);
	assert_int_equal(bridged(&r), before);
	assert_true(is_bridge(&r, 1));
	unit_fill(page_of(&r, 1), UNIQUE(1)); /* a write ends it */
	assert_int_equal(bridged(&r), before - 1);
	road_close(&r);
}

static void it_can_be_switched_off(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	r.u.opts.bridge_gaps = 0;
	road_open(&r);
	unit_passes(&r.u, 3);
	assert_int_equal(bridged(&r), 0);
	assert_int_equal(unit_stats(&r.u).pages_sharing, CONTENTS);
	assert_int_equal(unit_stats(&r.u).pages_unshared, CONTENTS - 1);
	assert_true(road_maps(&r) >= r.pages);
	road_close(&r);
}

/* Stores that other processes map hold no page of one guest alone. */
static void shared_stores_get_no_bridges(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	pthread_mutex_lock(&r.u.e->lock);
	assert_true(r.u.e->regions[0]->store->local);
	r.u.e->regions[0]->store->local = false;
	pthread_mutex_unlock(&r.u.e->lock);
	unit_passes(&r.u, 3);
	assert_int_equal(bridged(&r), 0);
	assert_int_equal(unit_stats(&r.u).pages_sharing, CONTENTS);
	road_close(&r);
}

/* What two mappings are worth: some pages, not many. */
static void long_gaps_are_left(void **state)
{
	unsigned longest = 0;

	(void)state;
	for (unsigned gap = 1; gap <= 8; gap++) {
		struct road r;

		road_build(&r, gap);
		if (bridged(&r)) {
			assert_int_equal(longest, gap - 1);
			assert_int_equal(bridged(&r), (CONTENTS - 1) * gap);
			assert_int_equal(road_maps(&r), 1);
			longest = gap;
		}
		road_close(&r);
	}
	assert_in_range(longest, 2, 7);
}

/* More pairs than a fence takes, and a block's border. */
static void a_long_road_is_one_mapping(void **state)
{
	const unsigned n = 600;
	struct unit u;
	char *ram, *at;

	(void)state;
	unit_simple(&u, 4 * n, &ram);
	at = ram + 2 * n * TF_PAGE;
	unit_fill_run(ram, n, 1);
	for (unsigned i = 0; i < 2 * n; i++)
		unit_fill(at + i * TF_PAGE, i % 2 ? UNIQUE(i) : 1 + i / 2);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).pages_sharing, n);
	assert_true(unit_stats(&u).pages_bridged >= n - 6);
	/* A block that ends with a unique page: one on each side. */
	assert_in_range(gather_maps_inside(at, (2 * n - 1) * TF_PAGE), 1, 9);
	for (unsigned i = 0; i < 2 * n; i++)
		unit_assert_page(at + i * TF_PAGE,
				 i % 2 ? UNIQUE(i) : 1 + i / 2);
	unit_close(&u);
}

static void a_twin_makes_an_ordinary_copy_of_it(void **state)
{
	struct tf_stats s;
	struct road r;
	char *twin;

	(void)state;
	road_build(&r, 1);
	twin = page_of(&r, r.pages);
	unit_fill(twin, UNIQUE(3));
	unit_passes(&r.u, 2);
	assert_int_equal(unit_state(&r.u, twin), TF_FRAME_SHARED);
	assert_false(is_bridge(&r, 3));
	assert_int_equal(bridged(&r), CONTENTS - 2);
	s = unit_stats(&r.u);
	assert_int_equal(s.pages_shared, CONTENTS + 1);
	assert_int_equal(s.pages_sharing, CONTENTS + 1);
	assert_int_equal(unit_guest_stats(r.g).pages_merged, 2 * CONTENTS + 2);
	unit_assert_page(twin, UNIQUE(3));
	/* KSM as well counts the last sharer of a page as shared. */
	unit_fill(twin, 5000);
	unit_check(&r.u);
	assert_int_equal(bridged(&r), CONTENTS - 2);
	assert_int_equal(unit_stats(&r.u).pages_shared, CONTENTS + 1);
	road_close(&r);
}

/* Twins of one fence: the second waits for the first. */
static void twins_in_one_visit_share(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	unit_fill(page_of(&r, r.pages), UNIQUE(1));
	unit_fill(page_of(&r, r.pages + 1), UNIQUE(3));
	unit_passes(&r.u, 2);
	assert_int_equal(unit_stats(&r.u).pages_sharing, CONTENTS + 2);
	assert_int_equal(bridged(&r), CONTENTS - 3);
	unit_assert_page(page_of(&r, r.pages), UNIQUE(1));
	unit_assert_page(page_of(&r, r.pages + 1), UNIQUE(3));
	road_close(&r);
}

static void a_write_breaks_it(void **state)
{
	struct road r;
	uint64_t blocks;

	(void)state;
	road_build(&r, 1);
	blocks = unit_store_blocks(r.u.e);
	page_of(&r, 3)[77] ^= 1;
	unit_check(&r.u);
	assert_int_equal(bridged(&r), CONTENTS - 2);
	assert_int_equal(unit_breaks(&r.u), 1);
	unit_assert_fresh(&r.u, page_of(&r, 3));
	page_of(&r, 3)[77] ^= 1;
	unit_assert_page(page_of(&r, 3), UNIQUE(3));
	assert_int_equal(unit_smaps(page_of(&r, 3), "Anonymous:"), 4);
	unit_passes(&r.u, 5);
	/* Nobody sees its slot any more. */
	assert_int_equal(unit_store_blocks(r.u.e), blocks - 8);
	assert_int_equal(unit_state(&r.u, page_of(&r, 3)), TF_FRAME_CANDIDATE);
	assert_int_equal(bridged(&r), CONTENTS - 2);
	assert_int_equal(unit_stats(&r.u).pages_sharing, CONTENTS);
	road_close(&r);
}

static void unmerging_takes_it_back(void **state)
{
	struct road r;

	(void)state;
	road_build(&r, 2);
	assert_true(bridged(&r) > 0);
	assert_int_equal(tf_guest_unmerge(r.g, 0, 4096 * TF_PAGE), 0);
	unit_check(&r.u);
	assert_int_equal(bridged(&r), 0);
	assert_int_equal(unit_stats(&r.u).chains, 0);
	assert_in_range(gather_maps_inside(r.ram,
					   (CONTENTS + 1 + r.pages) * TF_PAGE),
			1, 2);
	road_close(&r);
}

static void a_discarded_one_is_zeros(void **state)
{
	struct road r;
	uint64_t gpa;

	(void)state;
	road_build(&r, 1);
	gpa = (uint64_t)(page_of(&r, 3) - r.ram);
	assert_int_equal(tf_guest_discard(r.g, gpa, TF_PAGE), 0);
	unit_check(&r.u);
	assert_int_equal(bridged(&r), CONTENTS - 2);
	unit_assert_page(page_of(&r, 3), 0);
	unit_fill(page_of(&r, 3), UNIQUE(3));
	road_close(&r);
}

static void a_deleted_memslot_leaves_none(void **state)
{
	struct road r;

	(void)state;
	road_build(&r, 1);
	assert_int_equal(tf_guest_del_memslot(r.g, 0), 0);
	unit_check(&r.u);
	assert_int_equal(unit_stats(&r.u).pages_bridged, 0);
	assert_int_equal(unit_stats(&r.u).chains, 0);
	road_close(&r);
}

/* Page 3 is made unfit before anything is promoted: no bridge there. */
static void assert_gap_at_3(struct road *r)
{
	unit_passes(&r->u, 4);
	assert_int_equal(unit_stats(&r->u).pages_sharing, CONTENTS);
	assert_false(is_bridge(r, 3));
	assert_true(is_bridge(r, 1));
	assert_int_equal(bridged(r), CONTENTS - 2);
}

/* The road, unique pages and all, but with no twins yet. */
static void road_without_twins(struct road *r)
{
	road_open(r);
	for (unsigned i = 0; i < r->pages; i++)
		if (!is_unique(r, i))
			unit_fill(page_of(r, i), 900 + i);
	unit_passes(&r->u, 3);
	for (unsigned i = 0; i < r->pages; i++)
		assert_int_equal(unit_state(&r->u, page_of(r, i)),
				 TF_FRAME_CANDIDATE);
}

static void add_twins(struct road *r)
{
	for (unsigned i = 0; i < r->pages; i++)
		if (!is_unique(r, i))
			unit_fill(page_of(r, i), content(r, i));
}

/* Candidates of earlier passes. */
static void pages_that_settled_long_ago_are_bridged(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_without_twins(&r);
	assert_int_equal(bridged(&r), 0);
	add_twins(&r);
	unit_passes(&r.u, 2);
	assert_int_equal(bridged(&r), CONTENTS - 1);
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
	tf_block_find(r.u.e->regions[0], 0)->frames[CONTENTS + 1 + 3].history =
		1;
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
	unit_fill(page_of(&r, 3), UNIQUE(3));
	unit_passes(&r.u, 3);
	assert_int_equal(unit_spot(&r.u, page_of(&r, 3)).was.vain, 1);
	assert_int_equal(unit_state(&r.u, page_of(&r, 3)), TF_FRAME_CANDIDATE);
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
	unit_fill(page_of(&r, 3), UNIQUE(3));
	unit_pass(&r.u);
	assert_int_equal(unit_state(&r.u, page_of(&r, 3)), TF_FRAME_NEW);
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
	gpa = (uint64_t)(page_of(&r, 3) - r.ram);
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
	unit_fill(page_of(&r, 3), 0);
	assert_gap_at_3(&r);
	assert_int_equal(unit_stats(&r.u).zero_pages, 1);
	unit_fill(page_of(&r, 3), UNIQUE(3));
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
	unit_fill(changed, 1 + CONTENTS - 1); /* the last page of the road */
	r.u.os.equal = never_equal;
	road_open(&r);
	unit_passes(&r.u, 2);
	s = unit_stats(&r.u);
	assert_int_equal(s.pages_sharing, CONTENTS - 1);
	assert_int_equal(bridged(&r), CONTENTS - 2);
	assert_false(is_bridge(&r, r.pages - 2));
	assert_int_equal(s.fence_changed, 2); /* a pair, and no bridge */
	unit_wrap(&r.u, equal, tf_os_linux.equal);
	unit_passes(&r.u, 3);
	assert_int_equal(unit_stats(&r.u).pages_sharing, CONTENTS);
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
	page = hit = page_of(&r, 3);
	unit_pass(&r.u);
	assert_null(hit);
	assert_false(is_bridge(&r, 3));
	assert_true(unit_stats(&r.u).fence_changed >= 1);
	assert_int_equal(unit_stats(&r.u).pages_sharing, CONTENTS);
	page[9] ^= 1;
	unit_assert_page(page, UNIQUE(3));
	road_close(&r);
}

/* A guest that writes to its bridges gets no more of them, for a while. */
static void broken_bridges_are_not_forgotten_at_once(void **state)
{
	struct road r;

	(void)state;
	road_init(&r, 1);
	road_open(&r);
	pthread_mutex_lock(&r.u.e->lock);
	r.g->bridges = (struct tf_bridges){ .made = 1000, .broke = 100 };
	pthread_mutex_unlock(&r.u.e->lock);
	unit_passes(&r.u, 3);
	assert_int_equal(bridged(&r), 0);
	assert_int_equal(unit_stats(&r.u).pages_sharing, CONTENTS);
	unit_passes(&r.u, 400);
	assert_true(tf_profit_bridge(&r.g->bridges, 1));
	road_close(&r);
}

static void what_becomes_of_bridges_is_counted(void **state)
{
	struct road r;

	(void)state;
	road_build(&r, 1);
	assert_int_equal(r.g->bridges.made, CONTENTS - 1);
	assert_int_equal(r.g->bridges.broke, 0);
	unit_fill(page_of(&r, 5), content(&r, 5));
	unit_fill(page_of(&r, 2), content(&r, 2)); /* no bridge */
	assert_int_equal(r.g->bridges.broke, 1);
	unit_fill(page_of(&r, 5), content(&r, 5)); /* broken already */
	assert_int_equal(r.g->bridges.broke, 1);
	road_close(&r);
}

/* It has no sharers that a second copy would be for. */
static void second_copies_are_not_of_bridges(void **state)
{
	struct tf_stats s;
	struct road r;

	(void)state;
	road_init(&r, 1);
	r.u.opts.min_copies = 2;
	r.u.opts.copy_sharers = 2;
	road_open(&r);
	unit_passes(&r.u, 4);
	s = unit_stats(&r.u);
	assert_int_equal(s.chain_dups, CONTENTS);
	assert_int_equal(s.pages_recoverable, 2 * CONTENTS);
	assert_true(bridged(&r) > 0);
	assert_int_equal(s.chains, CONTENTS + bridged(&r));
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
	unit_fill(changed, UNIQUE(3));
	r.u.opts.merge_across_nodes = 0;
	r.u.os.read_file = read_two_nodes;
	r.u.os.node = node_of_changed;
	road_open(&r);
	assert_gap_at_3(&r);
	road_close(&r);
}

/* Merge all, write all, settle, un-merge all: no mapping is left over. */
static void mappings_are_as_before_in_the_end(void **state)
{
	const unsigned n = 200;
	struct tf_guest *g;
	unsigned before;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_simple(&u, 3 * n, &ram);
	unit_fill_run(ram, n, 1);
	for (unsigned i = 0; i < 2 * n; i++)
		unit_fill(ram + (n + i) * TF_PAGE,
			  i % 2 ? UNIQUE(i) : 1 + i / 2);
	before = gather_maps_inside(ram, 3 * n * TF_PAGE);
	unit_passes(&u, 3);
	assert_true(unit_stats(&u).pages_bridged > n / 2);
	gather_write_all(ram, 3 * n);
	assert_int_equal(unit_stats(&u).pages_bridged, 0);
	unit_passes(&u, 20);
	assert_int_equal(tf_guest_unmerge(g, 0, 3 * n * TF_PAGE), 0);
	assert_in_range(gather_maps_inside(ram, 3 * n * TF_PAGE), before,
			before + 1);
	unit_assert_run(ram, 3 * n, GATHER_FRESH(0));
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gap_is_bridged),
		cmocka_unit_test(a_pass_says_what_it_bridged),
		cmocka_unit_test(a_bridge_takes_no_memory_of_its_own),
		cmocka_unit_test(mapped_again_it_is_still_one),
		cmocka_unit_test(it_can_be_switched_off),
		cmocka_unit_test(shared_stores_get_no_bridges),
		cmocka_unit_test(long_gaps_are_left),
		cmocka_unit_test(a_long_road_is_one_mapping),
		cmocka_unit_test(pages_that_settled_long_ago_are_bridged),
		cmocka_unit_test(a_twin_makes_an_ordinary_copy_of_it),
		cmocka_unit_test(twins_in_one_visit_share),
		cmocka_unit_test(a_write_breaks_it),
		cmocka_unit_test(unmerging_takes_it_back),
		cmocka_unit_test(a_discarded_one_is_zeros),
		cmocka_unit_test(a_deleted_memslot_leaves_none),
		cmocka_unit_test(pages_that_broke_are_left),
		cmocka_unit_test(pages_that_are_written_now_and_then_are_left),
		cmocka_unit_test(volatile_pages_are_left),
		cmocka_unit_test(pinned_pages_are_left),
		cmocka_unit_test(holes_and_zeros_are_left),
		cmocka_unit_test(a_bridge_to_nowhere_is_undone),
		cmocka_unit_test(a_page_that_changed_unseen_is_left),
		cmocka_unit_test(broken_bridges_are_not_forgotten_at_once),
		cmocka_unit_test(what_becomes_of_bridges_is_counted),
		cmocka_unit_test(second_copies_are_not_of_bridges),
		cmocka_unit_test(a_bridge_is_on_its_neighbours_node),
		cmocka_unit_test(mappings_are_as_before_in_the_end),
	};

	return unit_run(tests);
}
