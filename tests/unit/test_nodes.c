/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * merge_across_nodes = 0 on a host that pretends to have two NUMA nodes: even
 * pages on one, odd pages on the other.
 */
#include <errno.h>
#include <string.h>

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

/* Equal pages, every other one on the other node: in the order of hashing. */
static int node_alternates(const struct tf_os *os, void *addr)
{
	(void)os;
	calls++;
	return (int)(((uintptr_t)addr / TF_PAGE) & 1);
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
	unit_open(&u);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hash_tells_nodes_apart),
		cmocka_unit_test(nodes_do_not_matter_by_default),
		cmocka_unit_test(an_unknown_node_is_the_first),
		cmocka_unit_test(equal_pages_of_two_nodes_make_two_chains),
	};

	return unit_run(tests);
}
