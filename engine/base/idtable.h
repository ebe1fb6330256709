/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A table of fixed-size records named by 32-bit ids. Records never move, so a
 * pointer stays valid until its id is freed; lookups take no lock and read
 * two words. Id 0 is never handed out: it means "none".
 *
 * Allocation and freeing need the caller's lock.
 */
#ifndef TF_BASE_IDTABLE_H
#define TF_BASE_IDTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TF_IDTABLE_CHUNK 1024u

struct tf_idtable {
	size_t record;    /* bytes of a record, at least 4 */
	char **chunks;    /* each TF_IDTABLE_CHUNK records, or NULL */
	uint32_t nchunks; /* entries of `chunks` */
	uint32_t used;    /* ids below were handed out at some time */
	uint32_t free;    /* head of the list of freed ids, 0 = none */
	uint32_t live;    /* ids in use */
};

/* Room for `max` ids; their chunks come as they are needed. -ENOMEM. */
int tf_idtable_init(struct tf_idtable *t, size_t record, uint32_t max);
void tf_idtable_fini(struct tf_idtable *t);

/* A zeroed record. 0 and *id, or -ENOMEM (also when `max` is reached). */
int tf_idtable_alloc(struct tf_idtable *t, uint32_t *id);
/* Would that take no memory? */
bool tf_idtable_at_hand(const struct tf_idtable *t);
void tf_idtable_free(struct tf_idtable *t, uint32_t id);

/* Bytes of memory the table holds, untouched parts left out. */
size_t tf_idtable_bytes(const struct tf_idtable *t);

static inline void *tf_idtable_get(const struct tf_idtable *t, uint32_t id)
{
	char *chunk = t->chunks[id / TF_IDTABLE_CHUNK];

	return chunk + (id % TF_IDTABLE_CHUNK) * t->record;
}

#endif
