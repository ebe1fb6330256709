/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What "stats" tells: the engine's counters by their names, what twinfold is
 * set to, every block of guest RAM, and every reason why something is not
 * merged. Reads only.
 */
#include "vmm/qemu/ctl.h"
#include "vmm/qemu/preload.h"

/* A page that is given back is copied and mapped: about this much of a CPU. */
#define UNMERGE_US 60

static void put(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static void put_text(json_t *o, const char *key, const char *text)
{
	json_object_set_new(o, key, text ? json_string(text) : json_null());
}

#define PUT(o, s, name) put(o, #name, (uint64_t)(s)->name)

static void put_levels(json_t *o, const struct tf_stats *s)
{
	PUT(o, s, pages_shared);
	PUT(o, s, pages_sharing);
	PUT(o, s, pages_bridged);
	PUT(o, s, pages_unshared);
	PUT(o, s, pages_volatile);
	PUT(o, s, zero_pages);
	PUT(o, s, pages_cow);
	PUT(o, s, chains);
	PUT(o, s, chain_dups);
	PUT(o, s, vmas);
	PUT(o, s, vma_budget);
	PUT(o, s, pages_refused);
	PUT(o, s, pages_handed);
	PUT(o, s, metadata_bytes);
	PUT(o, s, profit_bytes);
	PUT(o, s, pages_recoverable);
	PUT(o, s, quarantined);
}

static void put_counters(json_t *o, const struct tf_stats *s)
{
	PUT(o, s, pages_scanned);
	PUT(o, s, pages_hashed);
	PUT(o, s, full_scans);
	PUT(o, s, breaks);
	PUT(o, s, breaks_ahead);
	PUT(o, s, pages_gathered);
	PUT(o, s, budget_refused);
	PUT(o, s, fence_busy);
	PUT(o, s, fence_changed);
	PUT(o, s, heals);
	PUT(o, s, heals_fresh_copy);
	PUT(o, s, heals_existing_dup);
	PUT(o, s, heals_other);
	PUT(o, s, vmces);
	PUT(o, s, unrecoverable);
	PUT(o, s, transient_failed);
	PUT(o, s, can_merge);
	PUT(o, s, scan_dirty);
}

static const char *state_name(enum tq_block_state state)
{
	switch (state) {
	case TQ_BLOCK_WAITING:
		return "waiting";
	case TQ_BLOCK_MERGING:
		return "merging";
	default:
		return "refused";
	}
}

static void put_block(const struct tq_block *b, void *blocks)
{
	json_t *o = json_object();

	put(o, "gpa", b->gpa);
	put(o, "bytes", b->bytes);
	put(o, "hva", (uintptr_t)b->start);
	put_text(o, "state", state_name(b->state));
	put_text(o, "reason", b->reason[0] ? b->reason : NULL);
	json_array_append_new(blocks, o);
}

static void put_reason(const char *why, void *reasons)
{
	json_array_append_new(reasons, json_string(why));
}

static json_t *reasons_json(void)
{
	json_t *reasons = json_array();

	tq_scan_reasons(put_reason, reasons);
	return reasons;
}

static const char *mode_name(const struct tq_env *env)
{
	if (env->ras)
		return env->dedup ? "both" : "ras";
	return env->dedup ? "dedup" : "off";
}

json_t *tq_ctl_stats(void)
{
	const struct tq_life *life = tq_life();
	struct tf_stats s = { .size = sizeof(s) };
	struct tf_guest_stats g = { .size = sizeof(g) };
	json_t *o = json_object(), *blocks = json_array();

	if (tq_life_hold()) {
		tf_engine_stats(life->engine, &s);
		tf_guest_stats(life->guest, &g);
		tq_life_let_go();
	}
	put_levels(o, &s);
	put_counters(o, &s);
	put(o, "pages_merged", g.pages_merged);
	put(o, "pages_seen", g.pages_seen);
	put_text(o, "mode", mode_name(&life->env));
	put(o, "pace", life->env.pace);
	put_text(o, "domain", life->env.domain);
	json_object_set_new(o, "scanning", json_boolean(tq_scan_is_on()));
	put(o, "unmerge_bytes", g.pages_merged * TF_PAGE_SIZE);
	put(o, "unmerge_ms",
	    (g.pages_merged + g.pages_bridged) * UNMERGE_US / 1000);
	json_object_set_new(o, "reasons", reasons_json());
	tq_blocks_each(put_block, blocks);
	json_object_set_new(o, "blocks", blocks);
	return o;
}
