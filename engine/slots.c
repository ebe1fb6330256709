/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The slots of a store: which are handed out, which are dead and to be punched,
 * and which windows may be begun again. Slots are written once, through the
 * file, before any frame maps them; nothing here ever writes one again.
 *
 * Caller holds the engine's lock throughout.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/forks.h"
#include "engine/state.h"
#include "engine/store.h"

#define DEAD_BATCH 256u

int tf_slots_init(struct tf_store *s)
{
	s->dead = malloc(DEAD_BATCH * sizeof(*s->dead));
	if (!s->dead)
		return -ENOMEM;
	s->cap_dead = DEAD_BATCH;
	return 0;
}

/* A window is for one node, or for any. It may have been another's. */
static void window_bind(const struct tf_store *s, uint32_t w)
{
	const struct tf_os *os = s->engine->os;
	void *at = (void *)(s->map + w * TF_WINDOW_BYTES);
	unsigned long nodes = s->node == TF_NODE_ANY ? 0 : 1ul << s->node;

	if (nodes)
		os->bind(os, at, TF_WINDOW_BYTES, MPOL_PREFERRED, &nodes,
			 8 * sizeof(nodes) + 1);
	else if (tf_nodes_several(s->engine) && !s->attrs.policy)
		os->bind(os, at, TF_WINDOW_BYTES, MPOL_DEFAULT, NULL, 0);
}

/* Begin the lowest window that nothing maps. */
static int window_open(struct tf_store *s)
{
	for (uint32_t w = 0; w < s->nwindows; w++) {
		struct tf_window *win = &s->windows[w];

		if (win->dup_of)
			continue;
		win->dup_of = calloc(TF_WINDOW_SLOTS, sizeof(*win->dup_of));
		if (!win->dup_of)
			return -ENOMEM;
		s->window = w;
		window_bind(s, w);
		if (w >= s->opened)
			s->opened = w + 1;
		return 0;
	}
	return -ENOSPC;
}

void tf_store_use_node(struct tf_store *s, unsigned node)
{
	if (node == s->node)
		return;
	s->others[s->node] = s->window;
	s->window = s->others[node];
	s->node = node;
}

bool tf_slot_at_hand(const struct tf_store *s)
{
	return s->window != s->nwindows &&
	       s->windows[s->window].used < TF_WINDOW_SLOTS;
}

bool tf_slot_may_go(const struct tf_store *s)
{
	return s->ndead < s->cap_dead;
}

uint32_t tf_slot_next(const struct tf_store *s)
{
	return tf_slot_at_hand(s) ? (s->window << TF_WINDOW_SHIFT) +
					    s->windows[s->window].used :
				    0;
}

int tf_slot_alloc(struct tf_store *s, uint32_t *ret)
{
	struct tf_window *w;

	if (!tf_slot_at_hand(s)) {
		int err = window_open(s);

		if (err)
			return err;
	}
	w = &s->windows[s->window];
	*ret = (s->window << TF_WINDOW_SHIFT) + w->used++;
	w->live++;
	return 0;
}

void tf_slot_bind(struct tf_store *s, uint32_t slot, uint32_t dup)
{
	struct tf_window *w = &s->windows[slot >> TF_WINDOW_SHIFT];

	__atomic_store_n(&w->dup_of[slot & (TF_WINDOW_SLOTS - 1)], dup,
			 __ATOMIC_RELEASE);
}

static int dead_grow(struct tf_store *s)
{
	uint32_t cap = s->cap_dead + DEAD_BATCH;
	uint32_t *more = realloc(s->dead, cap * sizeof(*more));

	if (!more)
		return -ENOMEM;
	s->dead = more;
	s->cap_dead = cap;
	return 0;
}

void tf_slot_free(struct tf_store *s, uint32_t slot)
{
	struct tf_window *w = &s->windows[slot >> TF_WINDOW_SHIFT];

	w->dup_of[slot & (TF_WINDOW_SLOTS - 1)] = 0;
	if (!tf_slot_may_go(s))
		tf_store_flush(s);
	/* Out of memory: the slot stays as it is for ever. */
	if (!tf_slot_may_go(s) && dead_grow(s))
		return;
	s->dead[s->ndead++] = slot;
}

void tf_slot_quarantine(struct tf_store *s, uint32_t slot)
{
	struct tf_window *w = &s->windows[slot >> TF_WINDOW_SHIFT];

	/* It stays live, so its window is never retired. */
	w->dup_of[slot & (TF_WINDOW_SLOTS - 1)] = 0;
}

void tf_slot_abandon(struct tf_store *s, uint32_t slot)
{
	tf_slot_free(s, slot);
}

/*
 * A window that is used up and has no live slot is mapped by nobody: frames
 * left it one by one, and forked children are gone (tf_store_flush). Its
 * offsets may be used again; our own mapping forgets what it saw there.
 */
static void window_retire(struct tf_store *s, uint32_t w)
{
	struct tf_window *win = &s->windows[w];
	uint64_t off = w * TF_WINDOW_BYTES;

	if (win->live || win->used < TF_WINDOW_SLOTS)
		return;
	s->engine->os->advise(s->engine->os, (void *)(s->map + off),
			      TF_WINDOW_BYTES, MADV_DONTNEED);
	free(win->dup_of);
	*win = (struct tf_window){ 0 };
	if (s->window == w)
		s->window = s->nwindows;
	for (unsigned i = 0; i <= TF_NODES; i++)
		if (s->others[i] == w)
			s->others[i] = s->nwindows;
}

static int cmp_slot(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Punch slots [from, to) of one window; on failure they stay dead. */
static bool punch_run(struct tf_store *s, uint32_t from, uint32_t to)
{
	const struct tf_os *os = s->engine->os;

	return os->punch(os, s->fd, (uint64_t)from * TF_PAGE,
			 (uint64_t)(to - from) * TF_PAGE) == 0;
}

void tf_store_flush(struct tf_store *s)
{
	uint32_t kept = 0;

	if (!s->ndead || tf_forks_alive(s->engine))
		return;
	qsort(s->dead, s->ndead, sizeof(*s->dead), cmp_slot);
	for (uint32_t i = 0, j; i < s->ndead; i = j) {
		uint32_t first = s->dead[i], w = first >> TF_WINDOW_SHIFT;

		for (j = i + 1; j < s->ndead; j++)
			if (s->dead[j] != first + (j - i) ||
			    s->dead[j] >> TF_WINDOW_SHIFT != w)
				break;
		if (punch_run(s, first, first + (j - i))) {
			s->windows[w].live -= j - i;
			window_retire(s, w);
			continue;
		}
		for (uint32_t k = i; k < j; k++)
			s->dead[kept++] = s->dead[k];
	}
	s->ndead = kept;
}
