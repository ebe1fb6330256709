/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holds what healing did against fates, lost slots and counters. */
#include "tests/lib/poison_verdict.h"

#include "engine/chain.h"
#include "tests/lib/poison_apps.h"
#include "tests/lib/poison_seam.h"
#include "tests/lib/poison_trap.h"
#include "tests/lib/ras_idle.h"

void poison_settle(struct tf_engine *e)
{
	poison_seam_disarm();
	PROP_EXPECT(ras_wait_idle(e), "healing does not end");
}

static void check_counters(struct tf_engine *e, uint64_t told)
{
	struct tf_stats s = { .size = sizeof(s) };

	tf_engine_stats(e, &s);
	PROP_EXPECT(s.vmces == told, "%llu vMCEs are counted, %llu were told",
		    (unsigned long long)s.vmces, (unsigned long long)told);
	PROP_EXPECT(!s.unrecoverable && !s.transient_failed,
		    "%llu unrecoverable, %llu without a verdict",
		    (unsigned long long)s.unrecoverable,
		    (unsigned long long)s.transient_failed);
	PROP_EXPECT(s.quarantined <= trap_count(),
		    "%llu slots in quarantine, %u are lost",
		    (unsigned long long)s.quarantined, trap_count());
}

void poison_collect(struct tf_engine *e, struct fates *f, uint64_t before)
{
	poison_settle(e);
	poison_apps_touch();
	poison_settle(e);
	fates_take(f, e, "after healing");
	poison_apps_end();
	check_counters(e, f->told_all - before);
}

void poison_check_slots(struct tf_engine *e)
{
	pthread_mutex_lock(&e->lock);
	for (unsigned i = 0; i < trap_count(); i++) {
		uint32_t slot, dup;
		const struct tf_store *s = trap_nth(i, &slot);

		dup = tf_slot_dup(s, slot);
		PROP_EXPECT(!dup || !tf_dup_get(e, dup)->nsharers,
			    "slot %u is lost, its dup has %u sharers", slot,
			    tf_dup_get(e, dup)->nsharers);
	}
	pthread_mutex_unlock(&e->lock);
}
