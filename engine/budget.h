/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VMA budget: how many mappings merging may add to this process, so that
 * the VMM that hosts the engine never meets vm.max_map_count, and healing
 * always finds 2 * max_page_sharing mappings to spend.
 */
#ifndef TF_ENGINE_BUDGET_H
#define TF_ENGINE_BUDGET_H

#include <stdbool.h>

struct tf_engine;

/*
 * Read vm.max_map_count and the process's own mappings, and set the budget.
 * Not more often than every ten seconds unless `force`. Caller holds the
 * lock; costs about 1 us for every mapping the process has.
 */
void tf_budget_refresh(struct tf_engine *e, bool force);

/* Is it time to look at the length of runs? Caller holds the lock. */
bool tf_budget_tight(const struct tf_engine *e);

/* Is it worth while to try again what was refused? Caller holds the lock. */
bool tf_budget_has_room(const struct tf_engine *e);

/* May `more` mappings be added for a run of so many pages? Caller holds the
 * lock. */
bool tf_budget_allows(const struct tf_engine *e, unsigned more, unsigned run);

#endif
