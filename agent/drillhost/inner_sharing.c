/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See inner.h: guests that lose nothing, and what is shared in them. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/drillhost/inner.h"
#include "agent/ksm.h"

#define SCANS 4 /* what KSM takes to settle */
#define TRIES 600
#define TRY_US 100000
#define PAGES_PER_MB (1e6 / 4096)

static uint64_t scans(struct inner *inner)
{
	struct ksm_counts c = { 0 };

	if (inner->cell->row->configuration == ROW_TWINFOLD)
		return inner_stat(inner, "full_scans");
	return ksm_counts(&c) ? 0 : c.full_scans;
}

static void tell(struct inner *inner)
{
	struct row *row = inner->cell->row;
	struct ksm_counts c = { 0 };
	uint64_t zeros = 0;

	if (row->configuration == ROW_TWINFOLD) {
		c.shared = inner_stat(inner, "pages_shared");
		c.sharing = inner_stat(inner, "pages_sharing");
		zeros = inner_stat(inner, "zero_pages");
	} else {
		ksm_counts(&c);
	}
	snprintf(row->outcome, sizeof(row->outcome),
		 "the guest noticed nothing; %" PRIu64 " pages share %" PRIu64
		 " frames, %" PRIu64 " pages of zeros need none: %.1f MB saved",
		 c.sharing + c.shared, c.shared, zeros,
		 (double)(c.sharing + zeros) / PAGES_PER_MB);
}

void inner_count(struct inner *inner)
{
	struct row *row = inner->cell->row;

	row->guest_checks = inner->now.checks;
	row->guest_check_failures = inner->now.failures;
	row->wrong_bytes = inner->now.wrong_bytes;
	row->lost_writes = inner->now.lost_writes;
	if (inner->now.failures || inner->now.keeper || inner->now.owner)
		row_blame(row, "%" PRIu64 " checks of the guest failed",
			  inner->now.failures);
	tell(inner);
}

int inner_settle(struct inner *inner)
{
	uint64_t end = scans(inner) + SCANS;
	int r = 0;

	for (int i = 0; i < TRIES && !r && scans(inner) < end; i++) {
		usleep(TRY_US);
		r = inner_look(inner);
	}
	return r;
}
