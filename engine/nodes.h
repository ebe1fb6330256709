/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * merge_across_nodes = 0: pages share only with pages of their own NUMA node,
 * and their stable copy lies on that node. Otherwise a stable copy lies where
 * the kernel likes, but a second one, which is kept to heal from, on another
 * node than the first: what takes a node's memory does not take both.
 */
#ifndef TF_ENGINE_NODES_H
#define TF_ENGINE_NODES_H

#include <stdbool.h>
#include <stdint.h>

struct tf_engine;
struct tf_store;

/* Nodes told apart; those above share a number. */
#define TF_NODES 64u

/* The number of no node: wherever the kernel likes. */
#define TF_NODE_ANY TF_NODES

/* Decide whether nodes matter: the option is 0 and there are several. */
void tf_nodes_init(struct tf_engine *e);

bool tf_nodes_several(const struct tf_engine *e);

/* The node of a page, below TF_NODES; 0 where nodes do not matter. */
unsigned tf_node_of(const struct tf_engine *e, const char *addr);

/* Where the stable copy of this page belongs: a node, or TF_NODE_ANY. */
unsigned tf_node_for(const struct tf_engine *e, const char *addr);

/* The same for another copy of it, to heal from. A guest that is bound to
 * nodes keeps them. */
unsigned tf_node_beside(const struct tf_store *s, const char *addr);

/*
 * A hash that differs from node to node, so that pages of different nodes
 * never propose each other. The same hash where nodes do not matter.
 */
uint64_t tf_node_hash(const struct tf_engine *e, const char *addr,
		      uint64_t hash);

#endif
