/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The candidate table. Owns its buckets; grows, never shrinks. */
#include "engine/candidates.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/hash.h"
#include "engine/state.h"

/* Frames a bucket holds on average before the table grows. */
#define LOAD 2u

static int candidates_grow(struct tf_store *s)
{
	struct tf_buckets *t = &s->candidates;
	uint32_t size = t->head ? 2 * (t->mask + 1) : 256;
	uint32_t *old = t->head, *head = calloc(size, sizeof(*head));
	uint32_t olds = old ? t->mask + 1 : 0;

	if (!head)
		return -ENOMEM;
	t->head = head;
	t->mask = size - 1;
	for (uint32_t i = 0; i < olds; i++) {
		for (uint32_t ref = old[i], next; ref; ref = next) {
			struct tf_frame *f = tf_ref_frame(s->engine, ref);

			next = f->cand.next;
			f->cand.next = head[f->cand.hash & t->mask];
			head[f->cand.hash & t->mask] = ref;
		}
	}
	free(old);
	return 0;
}

int tf_candidate_add(struct tf_block *b, unsigned page, uint64_t hash)
{
	struct tf_store *s = b->region->store;
	struct tf_buckets *t = &s->candidates;
	struct tf_frame *f = &b->frames[page];
	uint32_t *link;

	if (!t->head || t->count / LOAD > t->mask)
		if (candidates_grow(s) && !t->head)
			return -ENOMEM;
	tf_frame_pend(b, page, false);
	link = &t->head[(uint32_t)hash & t->mask];
	f->flags &= TF_FRAME_FOREIGN;
	tf_frame_set_hash(f, hash);
	f->cand.next = *link;
	f->state = TF_FRAME_CANDIDATE;
	*link = tf_ref(b, page);
	t->count++;
	s->engine->n.candidates++;
	return 0;
}

void tf_candidate_remove(struct tf_block *b, unsigned page)
{
	struct tf_store *s = b->region->store;
	struct tf_frame *f = &b->frames[page];
	uint32_t ref = tf_ref(b, page);
	uint32_t *link = &s->candidates.head[f->cand.hash & s->candidates.mask];

	while (*link != ref)
		link = &tf_ref_frame(s->engine, *link)->cand.next;
	*link = f->cand.next;
	s->candidates.count--;
	s->engine->n.candidates--;
}

uint32_t tf_candidate_find(const struct tf_store *s, uint64_t hash)
{
	uint32_t ref;

	if (!s->candidates.head)
		return 0;
	ref = s->candidates.head[(uint32_t)hash & s->candidates.mask];
	while (ref) {
		const struct tf_frame *f = tf_ref_frame(s->engine, ref);

		if (tf_frame_has_hash(f, hash))
			break;
		ref = f->cand.next;
	}
	return ref;
}

void tf_candidate_prefetch(const struct tf_store *s, uint32_t hash,
			   unsigned step)
{
	const struct tf_buckets *t = &s->candidates;
	uint32_t ref;

	if (!t->head)
		return;
	if (!step) {
		__builtin_prefetch(&t->head[hash & t->mask]);
		return;
	}
	for (ref = t->head[hash & t->mask]; ref && --step;)
		ref = tf_ref_frame(s->engine, ref)->cand.next;
	if (ref)
		__builtin_prefetch(tf_ref_frame(s->engine, ref));
}
