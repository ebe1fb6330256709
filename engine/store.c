/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of stores. Owns the memfd and the engine's read-only mapping of it;
 * its slots are in slots.c.
 *
 * Caller holds the engine's lock throughout.
 */
#include "engine/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "engine/chain.h"
#include "engine/hash.h"
#include "engine/state.h"

static bool store_matches(const struct tf_store *s, const char *domain,
			  const void *owner, const struct tf_attrs *attrs)
{
	return s->owner == owner && strcmp(s->domain, domain) == 0 &&
	       tf_attrs_same_policy(&s->attrs, attrs);
}

static uint64_t store_bytes(const struct tf_store *s)
{
	return s->nwindows * TF_WINDOW_BYTES;
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
	if (!s->windows || !s->domain || tf_slots_init(s))
		return -ENOMEM;
	err = tf_hash_secret(os, s->secret);
	if (err)
		return err;
	s->zero_hash = XXH3_64bits_withSecret(s->engine->zero_page, TF_PAGE,
					      s->secret, TF_SECRET_BYTES);
	s->fd = os->memfd(os, "twinfold-store",
			  TF_STORE_WINDOWS * TF_WINDOW_BYTES);
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
