/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * merge_across_nodes = 0: pages share only with pages of their own NUMA node,
 * and their stable copy lies on that node.
 */
#ifndef TF_ENGINE_NODES_H
#define TF_ENGINE_NODES_H

#include <stdint.h>

struct tf_engine;

/* Nodes told apart; those above share a number. */
#define TF_NODES 64u

/* Decide whether nodes matter: the option is 0 and there are several. */
void tf_nodes_init(struct tf_engine *e);

/* The node of a page, below TF_NODES; 0 where nodes do not matter. */
unsigned tf_node_of(const struct tf_engine *e, const char *addr);

/*
 * A hash that differs from node to node, so that pages of different nodes
 * never propose each other. The same hash where nodes do not matter.
 */
uint64_t tf_node_hash(const struct tf_engine *e, const char *addr,
		      uint64_t hash);

#endif
