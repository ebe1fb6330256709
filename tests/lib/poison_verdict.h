/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What healing must have done, once it has nothing left to do. */
#ifndef TF_TESTS_POISON_VERDICT_H
#define TF_TESTS_POISON_VERDICT_H

#include "tests/lib/poison_fate.h"

/* No page is lost any more inside of steps, and healing has ended. */
void poison_settle(struct tf_engine *e);

/* Every guest was told of what it lost and of nothing else, and the counters
 * say so. `before`: vMCEs that were told in the lives of former engines. All
 * pages are safe again. */
void poison_collect(struct tf_engine *e, struct fates *f, uint64_t before);

/* Everything was touched since the last fault: lost slots have no sharers. */
void poison_check_slots(struct tf_engine *e);

#endif
