/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The faults of `twinfold drill`. A page is hit again only when every guest has
 * checked all of its pages since, and a content that pages share likewise: two
 * errors at once may take both of its copies. Errors in different contents
 * overlap as they like.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/clock.h"
#include "agent/drill.h"
#include "agent/verbs.h"

/* Up to this between two faults. */
#define PAUSE_NS 20000000u

/* One of so many contents is left to drill_churn.c. */
#define CHURNED 4

/* How often of 20, by kind. */
static const unsigned char kinds[20] = {
	TF_WORK_COMMON, TF_WORK_COMMON, TF_WORK_COMMON, TF_WORK_COMMON,
	TF_WORK_COMMON, TF_WORK_COMMON, TF_WORK_COMMON, TF_WORK_COMMON,
	TF_WORK_TWIN,   TF_WORK_TWIN,   TF_WORK_TWIN,   TF_WORK_TWIN,
	TF_WORK_ZERO,   TF_WORK_ZERO,   TF_WORK_ZERO,   TF_WORK_UNIQUE,
	TF_WORK_UNIQUE, TF_WORK_UNIQUE, TF_WORK_UNIQUE, TF_WORK_UNIQUE,
};

bool drill_is_churned(const struct tf_work_page *page)
{
	return page->hot ||
	       (page->kind == TF_WORK_COMMON && page->content % CHURNED == 0);
}

static bool is_settled(const struct drill *d, size_t i)
{
	for (unsigned n = 0; n < DRILL_GUESTS; n++)
		if (d->report[n].rounds[TF_WORK_RUN] < d->due[i][n])
			return false;
	return true;
}

static bool may_hit(void *user, unsigned guest, const struct tf_work_page *page)
{
	const struct drill *d = user;

	if (drill_is_churned(page))
		return false;
	for (size_t i = d->faults.n; i--;)
		if (faults_same(&d->faults.list[i], guest, page))
			return is_settled(d, i);
	return true;
}

/* Guests that would be gone without healing: all that share the page. */
static unsigned deaths_by(const struct tf_work_page *page)
{
	return page->kind == TF_WORK_COMMON ? DRILL_GUESTS : 1;
}

static int hit(struct drill *d, unsigned guest, const struct tf_work_page *page)
{
	size_t i = d->faults.n;
	int r = faults_hit(&d->faults, guest, page);

	if (r == -EOPNOTSUPP) {
		fprintf(stderr,
			"twinfold drill: --backend %s: this host refuses to "
			"lose a page\n",
			d->opts.backend->name);
		return TF_EXIT_HOST;
	}
	if (r)
		return drill_fail("a page cannot be lost", r);
	for (unsigned n = 0; n < DRILL_GUESTS; n++)
		d->due[i][n] = d->report[n].rounds[TF_WORK_RUN] + 2;
	d->baseline_deaths += deaths_by(page);
	return TF_EXIT_OK;
}

static enum tf_work_kind choose_kind(struct drill *d)
{
	enum tf_work_kind kind;

	do {
		kind = (enum tf_work_kind)
			kinds[faults_random(&d->faults.random) % sizeof(kinds)];
	} while (kind == TF_WORK_ZERO && !d->opts.backend->zeros);
	return kind;
}

static void pause_some(struct drill *d)
{
	struct timespec ts = {
		.tv_nsec = (long)(faults_random(&d->faults.random) % PAUSE_NS)
	};

	nanosleep(&ts, NULL);
}

static void show(const struct drill *d, bool last)
{
	if (d->opts.json || (d->faults.n % 100 && !last))
		return;
	printf("%6.1f s  %zu pages lost, %" PRIu64 " machine checks of %" PRIu64
	       "\n",
	       clock_s() - d->began, d->faults.n, d->faults.vmces,
	       d->faults.expected);
	fflush(stdout);
}

int drill_storm(struct drill *d)
{
	int code = TF_EXIT_OK;

	d->faults.how = d->opts.backend->how;
	d->faults.random = d->opts.seed;
	while (!code && d->faults.n < d->opts.faults) {
		struct tf_work_page page;
		unsigned guest;

		pause_some(d);
		code = drill_look(d);
		if (code || !faults_pick(&d->faults, choose_kind(d), may_hit, d,
					 &guest, &page))
			continue;
		code = hit(d, guest, &page);
		show(d, d->faults.n == d->opts.faults);
	}
	return code;
}
