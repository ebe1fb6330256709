/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory errors of `twinfold demo`: some pages of every kind in every
 * guest, while it runs. First the engine is given time to fold what lasts.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/clock.h"
#include "agent/demo.h"
#include "agent/verbs.h"

#define EACH 2 /* pages of a kind and guest */
#define FOLD_S 30
#define POLL_NS 50000000

/* Is every page that has a twin, by the guests' own books, folded? */
static bool is_folded(struct demo *d)
{
	struct tf_stats s = { .size = sizeof(s) };
	uint64_t shared = faults_count(&d->faults, TF_WORK_COMMON) +
			  faults_count(&d->faults, TF_WORK_TWIN);

	return !tf_engine_stats(d->engine, &s) &&
	       s.pages_recoverable >= shared &&
	       s.zero_pages >= faults_count(&d->faults, TF_WORK_ZERO);
}

static bool wait_until_folded(struct demo *d)
{
	static const struct timespec pause = { .tv_nsec = POLL_NS };
	double began = clock_s();

	while (!is_folded(d)) {
		if (clock_s() - began > FOLD_S)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* Every content once. */
static bool is_fresh(void *user, unsigned guest,
		     const struct tf_work_page *page)
{
	const struct demo *d = user;

	for (size_t i = 0; i < d->faults.n; i++)
		if (faults_same(&d->faults.list[i], guest, page))
			return false;
	return true;
}

static int lose_one(struct demo *d, enum tf_work_kind kind)
{
	struct tf_work_page page;
	unsigned guest;
	int r;

	if (!faults_pick(&d->faults, kind, is_fresh, d, &guest, &page))
		return TF_EXIT_OK; /* a small guest has no more */
	r = faults_hit(&d->faults, guest, &page);
	if (!r)
		return TF_EXIT_OK;
	fprintf(stderr,
		"twinfold demo: gpa 0x%" PRIx64 " of guest %u cannot be lost: "
		"%s\n",
		page.gpa, guest + 1, strerror(-r));
	return TF_EXIT_FAILED;
}

int demo_lose(struct demo *d)
{
	bool folded;
	int code = TF_EXIT_OK;

	d->faults.how = TF_INJECT_SIM;
	d->faults.random = 1;
	for (unsigned n = 0; n < d->opts.guests; n++)
		d->faults.guest[n].pages = d->guest[n].report.pages;
	folded = wait_until_folded(d);
	if (!folded)
		fprintf(stderr,
			"twinfold demo: not all pages that have a twin are "
			"folded after %d s more: only unique pages are lost\n",
			FOLD_S);
	for (unsigned i = 0; i < EACH * d->opts.guests; i++) {
		code = lose_one(d, TF_WORK_UNIQUE);
		for (int kind = TF_WORK_COMMON;
		     folded && !code && kind < FAULTS_KINDS; kind++)
			code = lose_one(d, (enum tf_work_kind)kind);
		if (code)
			break;
	}
	return code;
}
