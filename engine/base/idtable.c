/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The id table. A freed record's first four bytes hold the next free id.
 */
#include "engine/base/idtable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tf_idtable_init(struct tf_idtable *t, size_t record, uint32_t max)
{
	memset(t, 0, sizeof(*t));
	t->record = record;
	t->nchunks = max / TF_IDTABLE_CHUNK;
	t->used = 1;
	t->chunks = calloc(t->nchunks, sizeof(*t->chunks));
	return t->chunks ? 0 : -ENOMEM;
}

void tf_idtable_fini(struct tf_idtable *t)
{
	for (uint32_t i = 0; t->chunks && i * TF_IDTABLE_CHUNK < t->used; i++)
		free(t->chunks[i]);
	free(t->chunks);
	t->chunks = NULL;
}

static int idtable_grow(struct tf_idtable *t)
{
	uint32_t chunk = t->used / TF_IDTABLE_CHUNK;

	if (chunk >= t->nchunks)
		return -ENOMEM;
	/* Signal handlers look here at any time. */
	if (!t->chunks[chunk])
		__atomic_store_n(&t->chunks[chunk],
				 malloc(TF_IDTABLE_CHUNK * t->record),
				 __ATOMIC_RELEASE);
	return t->chunks[chunk] ? 0 : -ENOMEM;
}

bool tf_idtable_at_hand(const struct tf_idtable *t)
{
	return t->free || (t->used % TF_IDTABLE_CHUNK &&
			   t->used / TF_IDTABLE_CHUNK < t->nchunks);
}

int tf_idtable_alloc(struct tf_idtable *t, uint32_t *id)
{
	uint32_t got = t->free;

	if (got) {
		memcpy(&t->free, tf_idtable_get(t, got), sizeof(t->free));
	} else {
		int err = idtable_grow(t);

		if (err)
			return err;
		got = t->used;
	}
	memset(tf_idtable_get(t, got), 0, t->record);
	/* Published with its record in place: signal handlers look. */
	if (got == t->used)
		__atomic_store_n(&t->used, got + 1, __ATOMIC_RELEASE);
	t->live++;
	*id = got;
	return 0;
}

void tf_idtable_free(struct tf_idtable *t, uint32_t id)
{
	memcpy(tf_idtable_get(t, id), &t->free, sizeof(t->free));
	t->free = id;
	t->live--;
}

size_t tf_idtable_bytes(const struct tf_idtable *t)
{
	size_t chunks = (t->used + TF_IDTABLE_CHUNK - 1) / TF_IDTABLE_CHUNK;

	return t->used * t->record + chunks * sizeof(*t->chunks);
}
