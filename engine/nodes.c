/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* NUMA nodes. Owns engine->split_nodes. Takes no lock. */
#include "engine/nodes.h"

#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/state.h"

/* 2^64 divided by the golden ratio: spreads small numbers over all bits
 * (Knuth, The Art of Computer Programming, vol. 3, section 6.4). */
#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

void tf_nodes_init(struct tf_engine *e)
{
	TF_AUTOFREE char *text = NULL;

	if (e->opts.merge_across_nodes)
		return;
	/* "0" is one node, "0-1" or "0,2" are several. */
	if (!e->os->read_file(e->os, "/sys/devices/system/node/online", &text))
		e->split_nodes = strpbrk(text, "-,") != NULL;
}

unsigned tf_node_of(const struct tf_engine *e, const char *addr)
{
	int node = e->split_nodes ? e->os->node(e->os, (void *)addr) : 0;

	return node < 0 ? 0 : (unsigned)node % TF_NODES;
}

uint64_t tf_node_hash(const struct tf_engine *e, const char *addr,
		      uint64_t hash)
{
	return hash ^ (tf_node_of(e, addr) * GOLDEN);
}
