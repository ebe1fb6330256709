/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The VMA budget. Owns engine->vma_budget. */
#include "engine/budget.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/state.h"

#define REFRESH_NS UINT64_C(10000000000)

/* Long runs first: lone pages may spend three quarters of the budget, runs of
 * RUN_SHORT pages seven eighths, those of RUN_LONG all of it. */
#define RUN_SHORT 4u
#define RUN_LONG 16u

/* What one batch may add. */
#define TIGHT 512u

/* Mappings left to the process for its own needs: at least 1024 and at least
 * a sixteenth of the limit. */
static uint64_t margin(uint64_t limit)
{
	return limit / 16 > 1024 ? limit / 16 : 1024;
}

static bool read_limit(const struct tf_os *os, uint64_t *limit)
{
	TF_AUTOFREE char *text = NULL;

	if (os->read_file(os, "/proc/sys/vm/max_map_count", &text))
		return false;
	*limit = strtoull(text, NULL, 10);
	return true;
}

static bool count_maps(const struct tf_os *os, uint64_t *count)
{
	TF_AUTOFREE char *text = NULL;

	if (os->read_file(os, "/proc/self/maps", &text))
		return false;
	*count = 0;
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		(*count)++;
	return true;
}

static uint64_t budget_of(const struct tf_engine *e, uint64_t limit,
			  uint64_t maps)
{
	uint64_t reserve = 2ull * e->opts.max_page_sharing + margin(limit);
	uint64_t others = maps > e->n.vmas ? maps - e->n.vmas : 0;

	return limit > others + reserve ? limit - others - reserve : 0;
}

static void warn_if_small(struct tf_engine *e, uint64_t budget, uint64_t limit)
{
	uint64_t want = 2 * (e->n.candidates + e->n.sharers);

	if (e->vma_checked_ns && budget >= want)
		return;
	if (budget >= 4096)
		return;
	tf_log(&e->log, TF_LOG_WARNING,
	       "vm.max_map_count is %llu: merging may add %llu mappings only; "
	       "raise it (sysctl vm.max_map_count) to merge more",
	       (unsigned long long)limit, (unsigned long long)budget);
}

void tf_budget_refresh(struct tf_engine *e, bool force)
{
	uint64_t now = e->os->now_ns(e->os), limit, maps, budget;

	if (!force && now - e->vma_checked_ns < REFRESH_NS)
		return;
	if (!read_limit(e->os, &limit) || !count_maps(e->os, &maps)) {
		/* What was true a moment ago is the best guess. */
		if (!e->vma_checked_ns && !e->vma_unread)
			tf_log(&e->log, TF_LOG_WARNING,
			       "/proc/sys/vm/max_map_count or /proc/self/maps "
			       "cannot be read: merging may add no mappings");
		e->vma_unread = true;
		return;
	}
	budget = budget_of(e, limit, maps);
	if (e->opts.vma_budget && e->opts.vma_budget < budget)
		budget = e->opts.vma_budget;
	else
		warn_if_small(e, budget, limit);
	e->vma_budget = budget;
	e->vma_checked_ns = now;
}

/* What lone pages may spend. KSM merges them without mappings: where it does,
 * a content that both of us have is a copy too many. */
static uint64_t lone_share(const struct tf_engine *e)
{
	return e->ksm_runs ? e->vma_budget / 8 : e->vma_budget / 4 * 3;
}

bool tf_budget_tight(const struct tf_engine *e)
{
	return e->n.vmas + TIGHT >= lone_share(e);
}

bool tf_budget_has_room(const struct tf_engine *e)
{
	uint64_t share = lone_share(e);
	uint64_t room = share / 8 < TIGHT ? share / 8 : TIGHT;

	return e->n.vmas + room < share;
}

bool tf_budget_allows(const struct tf_engine *e, unsigned more, unsigned run)
{
	uint64_t budget = e->vma_budget;

	if (run < RUN_SHORT)
		budget = lone_share(e);
	else if (run < RUN_LONG)
		budget -= budget / 8;
	return !more || e->n.vmas + more <= budget;
}
