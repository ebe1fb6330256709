/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a mapping looks like, read once from /proc/self/smaps and applied to
 * whatever is mapped in its place: MAP_FIXED would drop all of it.
 */
#ifndef TF_ENGINE_ATTRS_H
#define TF_ENGINE_ATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/log.h"
#include "engine/os.h"

#define TF_ATTR_ADVICES 8
#define TF_ATTR_NODES (1024 / (8 * sizeof(long)))

struct tf_attrs {
	int advices[TF_ATTR_ADVICES]; /* MADV_* that made its flags */
	unsigned nadvices;
	bool noreserve;
	bool dontfork;
	int policy; /* MPOL_*; 0 is the default one */
	unsigned long nodes[TF_ATTR_NODES];
	char name[80]; /* PR_SET_VMA_ANON_NAME, "" = none */
};

/* Is [start, end), a private mapping of a store's file from `off` on, known,
 * and to be passed over? */
typedef bool tf_attrs_known_fn(void *user, uintptr_t start, uintptr_t end,
			       uint64_t off);

/*
 * Read the attributes of [start, start + len). `known` may be NULL.
 * -ENOMEM: part of it is not mapped (or no memory).
 * -EOPNOTSUPP: not memory that can be merged; one line to `log` says why and
 *   what to do.
 */
int tf_attrs_read(const struct tf_os *os, const struct tf_logger *log,
		  char *start, size_t len, tf_attrs_known_fn *known, void *user,
		  struct tf_attrs *ret);

/* Apply to anonymous memory: everything. First error wins, none is skipped. */
int tf_attrs_apply(const struct tf_os *os, const struct tf_attrs *a, char *addr,
		   size_t len);

/* Apply to a merged mapping: the advices. Policy is the store's. */
int tf_attrs_apply_merged(const struct tf_os *os, const struct tf_attrs *a,
			  char *addr, size_t len);

/* mmap() flags beyond MAP_PRIVATE. */
int tf_attrs_map_flags(const struct tf_attrs *a);

/* Was this madvise() advice in force? */
bool tf_attrs_advised(const struct tf_attrs *a, int advice);

/* Do two mappings have the same memory policy? */
bool tf_attrs_same_policy(const struct tf_attrs *a, const struct tf_attrs *b);

#endif
