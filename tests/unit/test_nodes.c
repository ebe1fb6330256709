/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * merge_across_nodes = 0 on a host that pretends to have two NUMA nodes: even
 * pages on one, odd pages on the other.
 */
#include <errno.h>
#include <string.h>

#include "engine/chain.h"
#include "engine/fence.h"
#include "engine/nodes.h"

#include "lib/unit_world.h"

#define PAGES 8u

static int read_two_nodes(const struct tf_os *os, const char *path, char **text)
{
	if (strcmp(path, "/sys/devices/system/node/online") != 0)
		return tf_os_linux.read_file(os, path, text);
	*text = strdup("0-1\n");
	return *text ? 0 : -ENOMEM;
}

/* By what the page holds: its second word says where it is to be. */
static int node_by_content(const struct tf_os *os, void *addr)
{
	(void)os;
	return (int)((const uint64_t *)addr)[1];
}

static int node_unknown(const struct tf_os *os, void *addr)
{
	(void)os;
	(void)addr;
	return -ENOENT;
}

static void the_hash_tells_nodes_apart(void **state)
{
	uint64_t page[512] = { 7, 0 }, same[512] = { 7, 0 };
	struct unit u;

	(void)state;
	unit_init(&u);
	u.opts.merge_across_nodes = 0;
	u.os.read_file = read_two_nodes;
	u.os.node = node_by_content;
	unit_open(&u);
	assert_true(u.e->split_nodes);
	assert_int_equal(tf_node_hash(u.e, (char *)page, 99), 99);
	same[1] = 1;
	assert_int_not_equal(tf_node_hash(u.e, (char *)same, 99), 99);
	assert_int_equal(tf_node_of(u.e, (char *)same), 1);
	unit_close(&u);
}

static void nodes_do_not_matter_by_default(void **state)
{
	uint64_t page[512] = { 7, 1 };
	struct unit u;

	(void)state;
	unit_init(&u);
	u.os.read_file = read_two_nodes;
	u.os.node = node_by_content;
	unit_open(&u);
	assert_false(u.e->split_nodes);
	assert_int_equal(tf_node_hash(u.e, (char *)page, 99), 99);
	unit_close(&u);
}

static void an_unknown_node_is_the_first(void **state)
{
	struct unit u;
	char page[8];

	(void)state;
	unit_init(&u);
	u.opts.merge_across_nodes = 0;
	u.os.read_file = read_two_nodes;
	u.os.node = node_unknown;
	unit_open(&u);
	assert_int_equal(tf_node_of(u.e, page), 0);
	unit_close(&u);
}

static unsigned calls;

/* Equal pages, every other one on the other node. A page takes its node along
 * to the staging area. */
static struct {
	struct tf_engine *e;
	int staged[TF_STAGE_PAGES];
} alternates;

static bool in_staging(const char *addr, size_t *at)
{
	*at = (size_t)(addr - alternates.e->staging) / TF_PAGE;
	return addr >= alternates.e->staging && *at < TF_STAGE_PAGES;
}

static int node_alternates(const struct tf_os *os, void *addr)
{
	size_t at;

	(void)os;
	calls++;
	if (in_staging(addr, &at))
		return alternates.staged[at];
	return (int)(((uintptr_t)addr / TF_PAGE) & 1);
}

static long move_with_node(const struct tf_os *os, int uffd, void *to,
			   void *from, size_t len)
{
	size_t at;

	for (size_t off = 0; off < len; off += TF_PAGE)
		if (in_staging((char *)to + off, &at))
			alternates.staged[at] =
				node_alternates(os, (char *)from + off);
	return tf_os_linux.uffd_move(os, uffd, to, from, len);
}

static void equal_pages_of_two_nodes_make_two_chains(void **state)
{
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	calls = 0;
	unit_init(&u);
	u.opts.merge_across_nodes = 0;
	u.os.read_file = read_two_nodes;
	u.os.node = node_alternates;
	u.os.uffd_move = move_with_node;
	unit_open(&u);
	alternates.e = u.e;
	ram = unit_ram(&u, PAGES * TF_PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, 5);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, PAGES * TF_PAGE);
	unit_passes(&u, 4);
	s = unit_stats(&u);
	assert_true(calls >= PAGES);
	assert_int_equal(s.pages_shared, 2);
	assert_int_equal(s.pages_sharing, PAGES - 2);
	unit_close(&u);
}

static const char *the_list;

static int read_list(const struct tf_os *os, const char *path, char **text)
{
	(void)os;
	(void)path;
	*text = strdup(the_list);
	return *text ? 0 : -ENOMEM;
}

/* The node that the window of a slot was bound to, or -1. */
static int bound[4];

static int bind_noted(const struct tf_os *os, void *addr, size_t len, int mode,
		      const unsigned long *nodes, unsigned long maxnode)
{
	const struct unit *u = tf_container_of(os, struct unit, os);
	const struct tf_store *s;

	(void)mode;
	(void)maxnode;
	tf_list_for_each(s, &u->e->stores, link)
		if ((char *)addr >= s->map && len == TF_WINDOW_SLOTS * TF_PAGE)
			bound[((char *)addr - s->map) / len] =
				nodes && *nodes ? __builtin_ctzl(*nodes) : -1;
	return 0;
}

/* Whatever is where: the window says it, as for real. */
static int node_of_window(const struct tf_os *os, void *addr)
{
	const struct unit *u = tf_container_of(os, struct unit, os);
	const struct tf_store *s;

	tf_list_for_each(s, &u->e->stores, link)
		if ((char *)addr >= s->map)
			return bound[((char *)addr - s->map) /
				     (TF_WINDOW_SLOTS * TF_PAGE)] > 0;
	return 0;
}

static void second_copies_lie_on_another_node(void **state)
{
	const struct tf_dup *d, *other;
	struct unit_spot spot;
	struct unit u;
	char *ram;

	(void)state;
	memset(bound, -1, sizeof(bound));
	unit_init(&u);
	u.opts.smart_scan = 0;
	u.opts.min_copies = 2;
	u.opts.copy_sharers = 4;
	u.os.read_file = read_two_nodes;
	u.os.bind = bind_noted;
	u.os.node = node_of_window;
	unit_open(&u);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, 5);
	unit_slot(unit_guest(&u, NULL), 0, 0, ram, PAGES * TF_PAGE);
	unit_passes(&u, 4);
	assert_int_equal(unit_stats(&u).chain_dups, 1);
	spot = unit_spot(&u, ram);
	d = tf_dup_get(u.e, spot.was.shared.dup);
	other = tf_dup_get(u.e, d->next);
	assert_int_not_equal(bound[d->slot >> TF_WINDOW_SHIFT],
			     bound[other->slot >> TF_WINDOW_SHIFT]);
	assert_true(bound[d->slot >> TF_WINDOW_SHIFT] == 1 ||
		    bound[other->slot >> TF_WINDOW_SHIFT] == 1);
	unit_close(&u);
}

static void lists_of_nodes(void **state)
{
	static const struct {
		const char *text;
		uint64_t nodes;
	} list[] = {
		{ "0\n", 1 }, { "0-1\n", 3 }, { "0,2-3\n", 13 },
		{ "1\n", 2 }, { "", 0 },      { "x", 0 },
	};
	struct tf_engine e = { 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		struct tf_os os = { .read_file = read_list };

		the_list = list[i].text;
		e.os = &os;
		tf_nodes_init(&e);
		assert_int_equal(e.nodes, list[i].nodes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hash_tells_nodes_apart),
		cmocka_unit_test(nodes_do_not_matter_by_default),
		cmocka_unit_test(an_unknown_node_is_the_first),
		cmocka_unit_test(equal_pages_of_two_nodes_make_two_chains),
		cmocka_unit_test(second_copies_lie_on_another_node),
		cmocka_unit_test(lists_of_nodes),
	};

	return unit_run(tests);
}
