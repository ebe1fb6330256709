/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The counters, as the public structs show them. */
#include <errno.h>

#include "engine/base/cleanup.h"
#include "engine/batch.h"
#include "engine/opts.h"
#include "engine/profit.h"
#include "engine/state.h"
#include "engine/store.h"

static uint64_t metadata_bytes(const struct tf_engine *e)
{
	uint64_t bytes = sizeof(*e) + sizeof(struct tf_batch) +
			 e->cap_regions * sizeof(struct tf_region *) +
			 tf_idtable_bytes(&e->blocks) +
			 tf_idtable_bytes(&e->dups) +
			 e->n.sharer_room * sizeof(uint32_t);
	const struct tf_store *s;

	for (size_t i = 0; i < e->nregions; i++)
		bytes += sizeof(struct tf_region) +
			 tf_frames_bytes(e->regions[i]);
	tf_list_for_each(s, &e->stores, link)
		bytes += tf_store_bytes(s);
	return bytes;
}

static void fill_levels(const struct tf_engine *e, struct tf_stats *s)
{
	const struct tf_counts *n = &e->n;

	s->pages_shared = n->used;
	s->pages_sharing = n->sharers - n->used - n->bridged;
	s->pages_bridged = n->bridged;
	s->pages_unshared = n->candidates;
	s->pages_volatile = n->pending;
	s->zero_pages = n->zero;
	s->pages_cow = n->cow;
	s->chains = n->chains;
	s->chain_dups = n->dups - n->chains;
	s->vmas = n->vmas;
	s->vma_budget = e->vma_budget;
	s->pages_refused = n->refused;
	s->pages_handed = n->handed;
	s->pages_recoverable = n->recoverable;
	s->metadata_bytes = metadata_bytes(e);
	s->profit_bytes =
		(int64_t)((s->pages_sharing + s->zero_pages) * TF_PAGE) -
		(int64_t)(s->metadata_bytes + s->vmas * TF_VMA_BYTES);
}

int tf_engine_stats(struct tf_engine *e, struct tf_stats *ret)
{
	struct tf_stats s = { .size = sizeof(s) };

	pthread_mutex_lock(&e->lock);
	fill_levels(e, &s);
	s.pages_scanned = e->n.scanned;
	s.pages_hashed = e->n.hashed;
	s.full_scans = e->n.full_scans;
	s.breaks = e->n.breaks;
	s.breaks_ahead = e->n.breaks_ahead;
	s.pages_gathered = e->n.gathered;
	s.budget_refused = e->n.budget_refused;
	s.fence_busy = e->n.busy;
	s.fence_changed = e->n.changed;
	s.heals = e->n.heals;
	s.heals_fresh_copy = e->n.heals_fresh_copy;
	s.heals_existing_dup = e->n.heals_existing_dup;
	s.heals_other = e->n.heals_other;
	s.vmces = e->n.vmces;
	s.quarantined = e->n.quarantined;
	if (e->ras_stats)
		e->ras_stats(e, &s);
	s.can_merge = e->can_merge && !atomic_load(&e->degraded) &&
		      !atomic_load(&e->locked);
	s.scan_dirty = e->scan_dirty;
	pthread_mutex_unlock(&e->lock);
	return tf_opts_export(ret, &s, sizeof(s));
}

int tf_guest_stats(struct tf_guest *g, struct tf_guest_stats *ret)
{
	struct tf_engine *e = g->engine;
	struct tf_guest_stats s = { .size = sizeof(s) };
	const struct tf_region *r;

	pthread_mutex_lock(&e->lock);
	tf_list_for_each(r, &g->regions, link) {
		s.pages_seen += r->seen;
		s.pages_merged += r->shared - r->bridged;
		s.pages_bridged += r->bridged;
		s.zero_pages += r->zero;
		s.pages_cow += r->cow;
		s.memslots++;
		s.bytes += (uint64_t)(r->end - r->start);
	}
	s.breaks = g->breaks;
	pthread_mutex_unlock(&e->lock);
	return tf_opts_export(ret, &s, sizeof(s));
}
