/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stores and their slots. Owns the memfd, the engine's read-only mapping of
 * it, and which slots are in use. Slots are written once, through the file,
 * before any frame maps them; nothing here ever writes one again.
 *
 * Caller holds the engine's lock throughout.
 */
#include "engine/store.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "engine/chain.h"
#include "engine/forks.h"
#include "engine/hash.h"
#include "engine/state.h"

#define WINDOW_BYTES ((uint64_t)TF_WINDOW_SLOTS * TF_PAGE)
#define DEAD_BATCH 256u

static bool store_matches(const struct tf_store *s, const char *domain,
			  const void *owner, const struct tf_attrs *attrs)
{
	return s->owner == owner && strcmp(s->domain, domain) == 0 &&
	       tf_attrs_same_policy(&s->attrs, attrs);
}

static uint64_t store_bytes(const struct tf_store *s)
{
	return s->nwindows * WINDOW_BYTES;
}

/*
 * The file's offsets and our mapping of them are address space only. Where
 * that is scarce (RLIMIT_AS, sanitizers) fewer windows do.
 */
static int store_map(struct tf_store *s)
{
	const struct tf_os *os = s->engine->os;
	long map = -ENOMEM;

	for (s->nwindows = TF_STORE_WINDOWS; s->nwindows; s->nwindows /= 2) {
		map = os->map(os, NULL, store_bytes(s), PROT_READ,
			      MAP_SHARED | MAP_NORESERVE, s->fd, 0);
		if (map != -ENOMEM)
			break;
	}
	if (map < 0)
		return (int)map;
	s->map = (const char *)map;
	s->window = s->nwindows;
	s->node = TF_NODE_ANY;
	for (unsigned i = 0; i <= TF_NODES; i++)
		s->others[i] = s->nwindows;
	return 0;
}

static int store_advise(struct tf_store *s)
{
	const struct tf_os *os = s->engine->os;
	void *map = (void *)s->map;
	int err = os->advise(os, map, store_bytes(s), MADV_DONTFORK);

	if (!err)
		err = os->advise(os, map, store_bytes(s), MADV_DONTDUMP);
	/* Or mlockall() would fill its holes, terabytes of them. Nothing else
	 * depends on it. */
	if (!err && s->engine->can_merge)
		os->uffd_register(os, s->engine->uffd_ours, map, store_bytes(s),
				  TF_REG_MISSING);
	/* A shared mapping's policy is its file's, for every mapping of it. */
	if (!err && s->attrs.policy)
		err = os->bind(os, map, store_bytes(s), s->attrs.policy,
			       s->attrs.nodes,
			       TF_ATTR_NODES * 8 * sizeof(long));
	return err;
}

static int store_open(struct tf_store *s)
{
	const struct tf_os *os = s->engine->os;
	int err;

	s->windows = calloc(TF_STORE_WINDOWS, sizeof(*s->windows));
	s->cap_dead = DEAD_BATCH;
	s->dead = malloc(s->cap_dead * sizeof(*s->dead));
	if (!s->windows || !s->dead || !s->domain)
		return -ENOMEM;
	err = tf_hash_secret(os, s->secret);
	if (err)
		return err;
	s->zero_hash = XXH3_64bits_withSecret(s->engine->zero_page, TF_PAGE,
					      s->secret, TF_SECRET_BYTES);
	s->fd = os->memfd(os, "twinfold-store",
			  TF_STORE_WINDOWS * WINDOW_BYTES);
	if (s->fd < 0)
		return s->fd;
	err = store_map(s);
	return err ? err : store_advise(s);
}

static void store_free(struct tf_store *s)
{
	const struct tf_os *os = s->engine->os;

	tf_chains_fini(s);
	if (s->map)
		os->unmap(os, (void *)s->map, store_bytes(s));
	if (s->fd >= 0)
		os->close(os, s->fd);
	for (uint32_t w = 0; w < s->opened; w++)
		free(s->windows[w].dup_of);
	free(s->windows);
	free(s->dead);
	free(s->stable.head);
	free(s->candidates.head);
	free(s->domain);
	free(s);
}

int tf_store_get(struct tf_engine *e, const char *domain, const void *owner,
		 const struct tf_attrs *attrs, struct tf_store **ret)
{
	struct tf_store *s;
	int err;

	tf_list_for_each(s, &e->stores, link) {
		if (store_matches(s, domain, owner, attrs)) {
			s->regions++;
			*ret = s;
			return 0;
		}
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->engine = e;
	s->fd = -1;
	s->owner = owner;
	s->domain = strdup(domain);
	s->attrs = *attrs;
	s->regions = 1;
	s->local = true;
	err = store_open(s);
	if (err) {
		store_free(s);
		return err;
	}
	tf_list_append(&e->stores, &s->link);
	*ret = s;
	return 0;
}

void tf_store_put(struct tf_store *s)
{
	if (--s->regions)
		return;
	tf_list_remove(&s->link);
	store_free(s);
}

/* A window is for one node, or for any. It may have been another's. */
static void window_bind(const struct tf_store *s, uint32_t w)
{
	const struct tf_os *os = s->engine->os;
	void *at = (void *)(s->map + w * WINDOW_BYTES);
	unsigned long nodes = s->node == TF_NODE_ANY ? 0 : 1ul << s->node;

	if (nodes)
		os->bind(os, at, WINDOW_BYTES, MPOL_PREFERRED, &nodes,
			 8 * sizeof(nodes) + 1);
	else if (tf_nodes_several(s->engine) && !s->attrs.policy)
		os->bind(os, at, WINDOW_BYTES, MPOL_DEFAULT, NULL, 0);
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
	uint64_t off = w * WINDOW_BYTES;

	if (win->live || win->used < TF_WINDOW_SLOTS)
		return;
	s->engine->os->advise(s->engine->os, (void *)(s->map + off),
			      WINDOW_BYTES, MADV_DONTNEED);
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

size_t tf_store_bytes(const struct tf_store *s)
{
	size_t bytes = sizeof(*s) + s->cap_dead * sizeof(*s->dead);

	for (uint32_t w = 0; w < s->opened; w++) {
		bytes += sizeof(s->windows[w]);
		if (s->windows[w].dup_of)
			bytes += s->windows[w].used * sizeof(uint32_t);
	}
	if (s->stable.head)
		bytes += (s->stable.mask + 1ul) * sizeof(uint32_t);
	if (s->candidates.head)
		bytes += (s->candidates.mask + 1ul) * sizeof(uint32_t);
	return bytes;
}
