/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Un-merging while `twinfold drill` loses pages: single pages of shared
 * contents, and the runs that guests write to. The engine folds them again.
 * Its thread touches no guest memory but the guests' books.
 */
#include <errno.h>

#include "agent/drill.h"
#include "agent/verbs.h"

#define PAUSE_NS 5000000

static void unmerge_one(struct drill *d)
{
	struct drill_churn *c = &d->churn;
	unsigned n = (unsigned)(faults_random(&c->random) % DRILL_GUESTS);
	uint64_t at = faults_random(&c->random) % d->faults.guest[n].pages;
	struct tf_work_page page = { .size = sizeof(page) };
	int r;

	if (tf_work_page(d->faults.guest[n].work, at, &page) ||
	    !drill_is_churned(&page))
		return;
	r = tf_guest_unmerge(d->faults.guest[n].guest, page.gpa, TF_PAGE_SIZE);
	c->unmerges++;
	if (r == -EHWPOISON)
		c->met_lost++;
	else if (r)
		c->error = r;
}

static void *churn(void *arg)
{
	static const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct drill *d = arg;

	while (!atomic_load(&d->churn.stop)) {
		unmerge_one(d);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

int drill_churn_start(struct drill *d)
{
	int r;

	d->churn.random = ~d->opts.seed;
	r = -pthread_create(&d->churn.thread, NULL, churn, d);
	d->churn.running = !r;
	return r ? drill_fail("no thread to un-merge", r) : TF_EXIT_OK;
}

int drill_churn_stop(struct drill *d)
{
	if (!d->churn.running)
		return TF_EXIT_OK;
	atomic_store(&d->churn.stop, true);
	pthread_join(d->churn.thread, NULL);
	d->churn.running = false;
	if (d->churn.error)
		return drill_fail("a page cannot be un-merged", d->churn.error);
	return TF_EXIT_OK;
}
