/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The run of `twinfold demo`: engine and guests, phase after phase. A guest
 * that stands still for STUCK_S seconds ends it. Uses only the public
 * interfaces of the engine and the VMM.
 */
#include <stdio.h>
#include <string.h>

#include "agent/clock.h"
#include "agent/demo.h"
#include "agent/verbs.h"

#define STUCK_S 60
#define POLL_NS 50000000

static int fail(const char *what, int error)
{
	fprintf(stderr, "twinfold demo: %s: %s\n", what, strerror(-error));
	return TF_EXIT_FAILED;
}

/* ---- building ---- */

static void on_log(void *user, enum tf_log_level level, const char *line)
{
	(void)user;
	if (level <= TF_LOG_WARNING)
		fprintf(stderr, "twinfold demo: %s\n", line);
}

static int create_engine(struct demo *d)
{
	struct tf_engine_opts opts;
	struct tf_stats stats = { .size = sizeof(stats) };
	int r;

	tf_engine_opts_init(&opts);
	opts.log = on_log;
	/* Whatever is shared has a second copy to heal from. */
	opts.min_copies = 2;
	opts.copy_sharers = 2;
	r = tf_engine_create(&opts, &d->engine);
	if (!r)
		r = tf_engine_stats(d->engine, &stats);
	if (!r)
		r = tf_ras_install(d->engine, NULL);
	if (r)
		return fail("the engine cannot be created", r);
	if (stats.can_merge)
		return 0;
	fprintf(stderr,
		"twinfold demo: this host cannot merge pages: it needs "
		"userfaultfd with UFFDIO_MOVE (Linux 6.8) and the right to "
		"use it\n");
	return TF_EXIT_HOST;
}

static int create_guest(struct demo *d, unsigned n)
{
	struct demo_guest *g = &d->guest[n];
	char name[32];
	struct tf_guest_opts guest = {
		.size = sizeof(guest),
		.name = name,
		.trust_domain = "demo",
	};
	struct tf_work_opts work = {
		.size = sizeof(work),
		.backend = d->opts.backend,
		.id = n + 1,
		.bytes = (size_t)d->opts.mem_mib << 20,
	};
	int r;

	snprintf(name, sizeof(name), "guest%u", n + 1);
	r = tf_guest_create(d->engine, &guest, &g->guest);
	if (r)
		return fail("the engine refuses a guest", r);
	work.guest = g->guest;
	work.engine = d->engine;
	r = tf_work_create(&work, &g->work);
	if (!r)
		r = tf_work_start(g->work);
	return r ? fail("a guest cannot be started", r) : 0;
}

static int build(struct demo *d)
{
	int code = create_engine(d);

	d->faults.engine = d->engine;
	d->faults.nguests = d->opts.guests;
	for (unsigned n = 0; n < d->opts.guests && !code; n++) {
		code = create_guest(d, n);
		d->faults.guest[n].guest = d->guest[n].guest;
		d->faults.guest[n].work = d->guest[n].work;
	}
	d->built = !code;
	return code;
}

/* ---- phases ---- */

static int look_at(struct demo *d, unsigned n, double now)
{
	struct demo_guest *g = &d->guest[n];
	uint64_t progress;

	g->report.size = sizeof(g->report);
	tf_work_report(g->work, &g->report);
	if (g->report.died) {
		fprintf(stderr, "twinfold demo: guest %u died: %s\n", n + 1,
			tf_work_why(g->work));
		return TF_EXIT_FAILED;
	}
	progress = g->report.checks + g->report.writes;
	if (progress != g->progress) {
		g->progress = progress;
		g->moved = now;
	}
	return 0;
}

/* Waiting is not standing still. */
static int check_stuck(struct demo *d, unsigned n, double now)
{
	const struct demo_guest *g = &d->guest[n];

	if (now - g->moved < STUCK_S)
		return 0;
	fprintf(stderr,
		"twinfold demo: guest %u has done nothing for %d s "
		"(after %llu checks)\n",
		n + 1, STUCK_S, (unsigned long long)g->report.checks);
	d->stuck = true;
	return TF_EXIT_FAILED;
}

static bool is_through(const struct demo_guest *g, enum tf_work_phase phase)
{
	const struct tf_work_report *r = &g->report;

	if (r->phase != phase || !r->ready || phase >= TF_WORK_PHASES)
		return false;
	return phase < TF_WORK_RUN || r->rounds[phase] >= g->rounds;
}

/* 0: go on waiting, 1: every guest is through, else minus an exit code. */
static int poll_guests(struct demo *d, enum tf_work_phase phase)
{
	double now = clock_s();
	bool all = true;

	faults_collect(&d->faults);
	for (unsigned n = 0; n < d->opts.guests; n++) {
		struct demo_guest *g = &d->guest[n];
		int code = look_at(d, n, now);

		if (!code && is_through(g, phase))
			continue;
		all = false;
		if (!code)
			code = check_stuck(d, n, now);
		if (code)
			return -code;
	}
	return all;
}

/* At least `seconds`, and until every guest is through. */
static int run_phase(struct demo *d, enum tf_work_phase phase, const char *name,
		     double seconds)
{
	static const struct timespec pause = { .tv_nsec = POLL_NS };
	double began = clock_s(), shown = began;
	int r = 0;

	for (unsigned n = 0; n < d->opts.guests; n++) {
		d->guest[n].moved = began;
		d->guest[n].rounds =
			d->guest[n].report.rounds[phase] + DEMO_ROUNDS;
		tf_work_command(d->guest[n].work, phase);
	}
	while (!r || (r == 1 && clock_s() - began < seconds)) {
		nanosleep(&pause, NULL);
		r = poll_guests(d, phase);
		if (clock_s() - shown >= 1) {
			demo_progress(d, name, false);
			shown = clock_s();
		}
	}
	demo_progress(d, name, true);
	return r < 0 ? -r : 0;
}

static int measure_merged(struct demo *d)
{
	int r = demo_memory(&d->bytes_after);

	d->merged.size = sizeof(d->merged);
	if (!r)
		r = tf_engine_stats(d->engine, &d->merged);
	for (unsigned n = 0; n < d->opts.guests && !r; n++) {
		d->guest[n].stats.size = sizeof(d->guest[n].stats);
		r = tf_guest_stats(d->guest[n].guest, &d->guest[n].stats);
	}
	return r ? fail("the counters cannot be read", r) : 0;
}

static int start_engine(struct demo *d)
{
	int r = demo_memory(&d->bytes_before);

	if (!r)
		r = tf_engine_start(d->engine);
	return r ? fail("the engine cannot be started", r) : 0;
}

static int finish(struct demo *d)
{
	int r;

	for (unsigned n = 0; n < d->opts.guests; n++) {
		tf_work_stop(d->guest[n].work);
		tf_work_report(d->guest[n].work, &d->guest[n].report);
	}
	r = tf_engine_stop(d->engine);
	faults_collect(&d->faults);
	d->end.size = sizeof(d->end);
	if (!r)
		r = tf_engine_stats(d->engine, &d->end);
	return r ? fail("the engine cannot be stopped", r) : 0;
}

static int count_healed(struct demo *d)
{
	struct tf_stats s = { .size = sizeof(s) };
	int r = tf_engine_stats(d->engine, &s);

	d->healed = s.heals;
	return r ? fail("the counters cannot be read", r) : 0;
}

static int run_phases(struct demo *d)
{
	int code = run_phase(d, TF_WORK_FILL, "fill", 0);

	if (!code)
		code = start_engine(d);
	if (!code)
		code = run_phase(d, TF_WORK_RUN, "run", d->opts.seconds);
	if (!code)
		code = measure_merged(d);
	if (!code)
		code = demo_lose(d);
	/* Every page is touched and checked. */
	if (!code)
		code = run_phase(d, TF_WORK_RUN, "errors", 0);
	if (!code)
		code = count_healed(d);
	if (!code)
		code = run_phase(d, TF_WORK_OVERWRITE, "overwrite", 0);
	if (!code)
		code = finish(d);
	return code;
}

int demo_run(struct demo *d)
{
	int code;

	d->began = clock_s();
	code = build(d);
	if (!code)
		code = run_phases(d);
	d->seconds = clock_s() - d->began;
	return code;
}

/* The memory of a guest that stands still may be in use for ever. */
void demo_cleanup(struct demo *d)
{
	if (d->stuck)
		return;
	for (unsigned n = 0; n < d->opts.guests; n++)
		tf_work_destroy(d->guest[n].work);
	tf_engine_destroy(d->engine);
	faults_fini(&d->faults);
}
