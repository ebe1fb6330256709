/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The run of `twinfold drill`: engine and guests, phase after phase. A guest
 * that stands still for STUCK_S seconds ends it. Uses only the public
 * interfaces of the engine and the VMM.
 */
#include "agent/drill.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/verbs.h"

#define STUCK_S 60
#define FOLD_S 60
#define POLL_NS 10000000

int drill_fail(const char *what, int error)
{
	fprintf(stderr, "twinfold drill: %s: %s\n", what, strerror(-error));
	return TF_EXIT_FAILED;
}

static void rest(void)
{
	static const struct timespec pause = { .tv_nsec = POLL_NS };

	nanosleep(&pause, NULL);
}

/* ---- building ---- */

/* The healer's thread; nobody waits for it then. */
static void on_verdict(void *user, const struct tf_ras_verdict *v)
{
	struct drill *d = user;

	pthread_mutex_lock(&d->lock);
	if (v->source != TF_RAS_FROM_NOWHERE && d->nheals < d->heal_room)
		d->heal_us[d->nheals++] = (double)v->ns / 1e3;
	pthread_mutex_unlock(&d->lock);
}

static int make_tables(struct drill *d)
{
	pthread_mutex_init(&d->lock, NULL);
	d->heal_room = 4 * (size_t)d->opts.faults;
	d->heal_us = calloc(d->heal_room, sizeof(*d->heal_us));
	d->due = calloc(d->opts.faults, sizeof(*d->due));
	return d->heal_us && d->due ? 0 : -ENOMEM;
}

static void on_log(void *user, enum tf_log_level level, const char *line)
{
	(void)user;
	if (level <= TF_LOG_ERR)
		fprintf(stderr, "twinfold drill: %s\n", line);
}

static int create_engine(struct drill *d)
{
	struct tf_ras_opts ras = { .size = sizeof(ras),
				   .vmce_eventfd = -1,
				   .event = on_verdict,
				   .event_user = d };
	struct tf_engine_opts opts;
	int r = make_tables(d);

	tf_engine_opts_init(&opts);
	opts.min_copies = 2;
	opts.copy_sharers = 2;
	opts.log = on_log;
	if (!r)
		r = tf_engine_create(&opts, &d->engine);
	if (!r)
		r = tf_ras_install(d->engine, &ras);
	d->faults.engine = d->engine;
	return r ? drill_fail("the engine cannot be created", r) : TF_EXIT_OK;
}

static int check_engine(struct drill *d)
{
	struct tf_stats s = { .size = sizeof(s) };
	int r = tf_engine_stats(d->engine, &s);

	if (r)
		return drill_fail("the engine has no counters", r);
	if (s.can_merge)
		return TF_EXIT_OK;
	fprintf(stderr,
		"twinfold drill: this host cannot merge pages, so there are no "
		"twins to heal from: it needs userfaultfd with UFFDIO_MOVE "
		"(Linux 6.8) and the right to use it\n");
	return TF_EXIT_HOST;
}

static int create_guest(struct drill *d, unsigned n)
{
	struct tf_guest_opts guest = { .size = sizeof(guest),
				       .trust_domain = "drill" };
	struct tf_work_opts work = { .size = sizeof(work),
				     .backend = d->opts.guests,
				     .id = n + 1,
				     .bytes = (size_t)DRILL_MEM_MIB << 20,
				     .engine = d->engine };
	struct tf_work_report report = { .size = sizeof(report) };
	struct faults *f = &d->faults;
	int r = tf_guest_create(d->engine, &guest, &f->guest[n].guest);

	work.guest = f->guest[n].guest;
	if (!r)
		r = tf_work_create(&work, &f->guest[n].work);
	if (r)
		return drill_fail("a guest cannot be created", r);
	f->nguests = n + 1;
	tf_work_report(f->guest[n].work, &report);
	f->guest[n].pages = report.pages;
	r = tf_work_start(f->guest[n].work);
	return r ? drill_fail("a guest cannot be started", r) : TF_EXIT_OK;
}

static int build(struct drill *d)
{
	int code = create_engine(d);

	if (!code)
		code = check_engine(d);
	for (unsigned n = 0; n < DRILL_GUESTS && !code; n++)
		code = create_guest(d, n);
	return code;
}

/* ---- guests ---- */

int drill_look(struct drill *d)
{
	struct faults *f = &d->faults;

	faults_collect(f);
	for (unsigned n = 0; n < f->nguests; n++) {
		d->report[n].size = sizeof(d->report[n]);
		tf_work_report(f->guest[n].work, &d->report[n]);
		if (!d->report[n].died)
			continue;
		fprintf(stderr, "twinfold drill: guest %u died: %s\n", n + 1,
			tf_work_why(f->guest[n].work));
		return TF_EXIT_FAILED;
	}
	return TF_EXIT_OK;
}

static bool is_through(const struct tf_work_report *r, enum tf_work_phase phase,
		       uint64_t rounds)
{
	return r->phase == phase && r->ready && r->rounds[phase] >= rounds;
}

static uint64_t progress(const struct drill *d)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < DRILL_GUESTS; n++)
		sum += d->report[n].checks + d->report[n].writes;
	return sum;
}

static int stuck(struct drill *d, enum tf_work_phase phase)
{
	fprintf(stderr,
		"twinfold drill: the guests have done nothing for %d s, in "
		"phase %d\n",
		STUCK_S, (int)phase);
	d->stuck = true;
	return TF_EXIT_FAILED;
}

static bool all_through(const struct drill *d, enum tf_work_phase phase,
			const uint64_t *rounds)
{
	for (unsigned n = 0; n < DRILL_GUESTS; n++)
		if (!is_through(&d->report[n], phase, rounds[n]))
			return false;
	return true;
}

int drill_go(struct drill *d, enum tf_work_phase phase, uint64_t more)
{
	uint64_t rounds[DRILL_GUESTS], seen = 0;
	double moved = clock_s();
	int code = drill_look(d);

	for (unsigned n = 0; n < DRILL_GUESTS; n++) {
		tf_work_command(d->faults.guest[n].work, phase);
		rounds[n] = d->report[n].rounds[phase] + more;
	}
	while (!code && !all_through(d, phase, rounds)) {
		rest();
		code = drill_look(d);
		if (progress(d) != seen) {
			seen = progress(d);
			moved = clock_s();
		} else if (!code && clock_s() - moved > STUCK_S) {
			code = stuck(d, phase);
		}
	}
	return code;
}

/* ---- phases ---- */

static bool is_folded(struct drill *d)
{
	struct tf_stats s = { .size = sizeof(s) };

	return !tf_engine_stats(d->engine, &s) &&
	       s.pages_recoverable >=
		       faults_count(&d->faults, TF_WORK_COMMON) +
			       faults_count(&d->faults, TF_WORK_TWIN) &&
	       s.zero_pages >= faults_count(&d->faults, TF_WORK_ZERO);
}

/* Only then does the book say what has a source. */
static int fold(struct drill *d)
{
	double began = clock_s();
	int code = drill_go(d, TF_WORK_RUN, 1);

	while (!code && !is_folded(d)) {
		rest();
		code = drill_look(d);
		if (!code && clock_s() - began > FOLD_S) {
			fprintf(stderr,
				"twinfold drill: pages with twins are not "
				"folded after %d s\n",
				FOLD_S);
			code = TF_EXIT_FAILED;
		}
	}
	return code;
}

static int start_engine(struct drill *d)
{
	int r = tf_engine_start(d->engine);

	return r ? drill_fail("the engine cannot be started", r) : TF_EXIT_OK;
}

/* Every page is touched and checked after the last error. */
static int settle(struct drill *d)
{
	int code = drill_go(d, TF_WORK_RUN, 2);

	d->stats.size = sizeof(d->stats);
	if (!code && tf_engine_stats(d->engine, &d->stats))
		code = TF_EXIT_FAILED;
	d->healed = d->stats.heals;
	return code;
}

static int finish(struct drill *d)
{
	for (unsigned n = 0; n < DRILL_GUESTS; n++)
		tf_work_stop(d->faults.guest[n].work);
	d->end.size = sizeof(d->end);
	if (tf_engine_stats(d->engine, &d->end))
		return TF_EXIT_FAILED;
	return drill_look(d);
}

static int run_phases(struct drill *d)
{
	int code = drill_go(d, TF_WORK_FILL, 0);

	if (!code)
		code = start_engine(d);
	if (!code)
		code = fold(d);
	if (!code)
		code = drill_churn_start(d);
	if (!code)
		code = drill_storm(d);
	if (!code)
		code = settle(d);
	if (!code)
		code = drill_churn_stop(d);
	if (!code)
		code = drill_degrade(d);
	/* Breaks of all that is shared, healed pages too. */
	if (!code)
		code = drill_go(d, TF_WORK_OVERWRITE, 1);
	return code ? code : finish(d);
}

int drill_run(struct drill *d)
{
	int code;

	d->began = clock_s();
	drill_log_open(d);
	code = drill_abort(d);
	if (!code)
		code = build(d);
	if (!code)
		code = run_phases(d);
	d->kernel_warnings = drill_log_warnings(d);
	d->seconds = clock_s() - d->began;
	return code;
}

/* The memory of a guest that stands still may be in use for ever. */
void drill_cleanup(struct drill *d)
{
	drill_churn_stop(d);
	if (d->kmsg >= 0)
		close(d->kmsg);
	if (d->stuck)
		return;
	for (unsigned n = 0; n < d->faults.nguests; n++)
		tf_work_destroy(d->faults.guest[n].work);
	tf_engine_destroy(d->engine);
	faults_fini(&d->faults);
	free(d->due);
	free(d->heal_us);
}
