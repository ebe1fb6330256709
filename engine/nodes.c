/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* NUMA nodes. Owns engine->nodes and engine->split_nodes. Takes no lock. */
#include "engine/nodes.h"

#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/state.h"
#include "engine/store.h"

/* 2^64 divided by the golden ratio: spreads small numbers over all bits
 * (Knuth, The Art of Computer Programming, vol. 3, section 6.4). */
#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

static unsigned number(const char **text)
{
	char *end;
	unsigned long n = strtoul(*text, &end, 10);

	*text = end;
	return (unsigned)n % TF_NODES;
}

/* "0" is one node, "0-1,3" are three. */
static uint64_t nodes_parse(const char *text)
{
	uint64_t nodes = 0;

	while (*text >= '0' && *text <= '9') {
		unsigned from = number(&text), to = from;

		if (*text == '-') {
			text++;
			to = number(&text);
		}
		for (unsigned i = from; i <= to; i++)
			nodes |= UINT64_C(1) << i;
		text += *text == ',';
	}
	return nodes;
}

bool tf_nodes_several(const struct tf_engine *e)
{
	return (e->nodes & (e->nodes - 1)) != 0;
}

void tf_nodes_init(struct tf_engine *e)
{
	TF_AUTOFREE char *text = NULL;

	if (!e->os->read_file(e->os, "/sys/devices/system/node/online", &text))
		e->nodes = nodes_parse(text);
	e->split_nodes = !e->opts.merge_across_nodes && tf_nodes_several(e);
}

static unsigned node_of(const struct tf_engine *e, const char *addr)
{
	int node = e->os->node(e->os, (void *)addr);

	return node < 0 ? 0 : (unsigned)node % TF_NODES;
}

unsigned tf_node_of(const struct tf_engine *e, const char *addr)
{
	return e->split_nodes ? node_of(e, addr) : 0;
}

unsigned tf_node_for(const struct tf_engine *e, const char *addr)
{
	return e->split_nodes ? node_of(e, addr) : TF_NODE_ANY;
}

unsigned tf_node_beside(const struct tf_store *s, const char *addr)
{
	const struct tf_engine *e = s->engine;

	if (e->split_nodes || !tf_nodes_several(e) || e->opts.min_copies < 2 ||
	    s->attrs.policy)
		return tf_node_for(e, addr);
	return (unsigned)__builtin_ctzll(e->nodes &
					 ~(UINT64_C(1) << node_of(e, addr)));
}

uint64_t tf_node_hash(const struct tf_engine *e, const char *addr,
		      uint64_t hash)
{
	return hash ^ (tf_node_of(e, addr) * GOLDEN);
}
