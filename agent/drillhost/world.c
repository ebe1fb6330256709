/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See world.h: how guests come to be, and go on. */
#include "agent/drillhost/world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <numa.h>

#include "agent/drillhost/world_merge.h"

#define GUESTS 2
#define MEM_MIB 4

void world_rest(void)
{
	static const struct timespec pause = { .tv_nsec = 5000000 };

	nanosleep(&pause, NULL);
}

int world_failed(const struct world *w, const char *what, int r)
{
	row_blame(w->cell->row, "%s: %s", what, strerror(-r));
	return r;
}

/* ---- building ---- */

/* The healer's thread. */
static void on_verdict(void *user, const struct tf_ras_verdict *v)
{
	struct world *w = user;
	struct row *row = w->cell->row;

	pthread_mutex_lock(&w->lock);
	if (v->source != TF_RAS_FROM_NOWHERE && row->nheals < ROW_HEALS_MAX)
		row->heal_us[row->nheals++] = (double)v->ns / 1e3;
	pthread_mutex_unlock(&w->lock);
}

static void on_log(void *user, enum tf_log_level level, const char *line)
{
	(void)user;
	if (level <= TF_LOG_WARNING)
		printf("drill: %s\n", line);
}

void world_engine_opts(struct tf_engine_opts *ret)
{
	tf_engine_opts_init(ret);
	ret->min_copies = 2;
	ret->copy_sharers = 2;
}

static int create_engine(struct world *w)
{
	struct tf_ras_opts ras = { .size = sizeof(ras),
				   .vmce_eventfd = -1,
				   .event = on_verdict,
				   .event_user = w };
	struct tf_engine_opts *opts = &w->opts.engine;
	int r;

	if (!opts->size)
		world_engine_opts(opts);
	opts->log = on_log;
	r = tf_engine_create(opts, &w->engine);
	if (!r)
		r = tf_ras_install(w->engine, &ras);
	w->faults.engine = w->engine;
	return r ? world_failed(w, "the engine cannot be created", r) : 0;
}

/* Where the threads that are started from here on get their memory. */
static void use_node(const struct world *w, unsigned n)
{
	struct bitmask *one;

	if (!w->opts.spread || numa_available() < 0)
		return;
	one = numa_allocate_nodemask();
	numa_bitmask_setbit(one, n % (unsigned)numa_num_configured_nodes());
	numa_set_membind(one);
	numa_free_nodemask(one);
}

static int create_guest(struct world *w, unsigned n)
{
	struct tf_guest_opts guest = { .size = sizeof(guest),
				       .trust_domain = "drill" };
	struct tf_work_opts work = { .size = sizeof(work),
				     .backend = w->opts.backend,
				     .id = n + 1,
				     .bytes = (size_t)w->opts.mem_mib << 20,
				     .engine = w->engine };
	struct faults *f = &w->faults;
	int r = 0;

	if (w->engine)
		r = tf_guest_create(w->engine, &guest, &f->guest[n].guest);
	work.guest = f->guest[n].guest;
	use_node(w, n);
	if (!r)
		r = tf_work_create(&work, &f->guest[n].work);
	if (!r)
		r = tf_work_start(f->guest[n].work);
	if (w->opts.spread)
		numa_set_localalloc();
	if (r)
		return world_failed(w, "a guest cannot be created", r);
	f->nguests = n + 1;
	w->cell->row->guests = n + 1;
	return 0;
}

static bool is_filled(const struct world *w)
{
	for (unsigned n = 0; n < w->faults.nguests; n++)
		if (w->report[n].phase != TF_WORK_FILL || !w->report[n].ready)
			return false;
	return true;
}

static int fill(struct world *w)
{
	int r = 0;

	for (unsigned n = 0; n < w->faults.nguests; n++)
		tf_work_command(w->faults.guest[n].work, TF_WORK_FILL);
	while (!r && !is_filled(w)) {
		world_rest();
		r = world_look(w);
	}
	return r;
}

static void begin(struct cell *cell, const struct world_opts *opts,
		  struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->cell = cell;
	w->opts = *opts;
	w->opts.guests = opts->guests ? opts->guests : GUESTS;
	w->opts.mem_mib = opts->mem_mib ? opts->mem_mib : MEM_MIB;
	w->faults.random = cell->seed;
	pthread_mutex_init(&w->lock, NULL);
	cell->row->ran = true;
	cell->row->passed = true;
}

int world_create(struct cell *cell, const struct world_opts *opts,
		 struct world *world)
{
	int r;

	begin(cell, opts, world);
	r = victim_count(&world->corrupted);
	if (r)
		return world_failed(world, "/proc/meminfo", r);
	if (cell->row->configuration == ROW_TWINFOLD)
		r = create_engine(world);
	for (unsigned n = 0; n < world->opts.guests && !r; n++)
		r = create_guest(world, n);
	if (!r)
		r = fill(world);
	return r ? r : world_merge(world);
}

/* ---- going on ---- */

static int a_guest_died(struct world *w, unsigned n)
{
	struct row *row = w->cell->row;
	const char *why = tf_work_why(w->faults.guest[n].work);

	row->deaths = 0;
	for (unsigned i = 0; i < w->faults.nguests; i++)
		row->deaths += w->report[i].died != 0;
	snprintf(row->outcome, sizeof(row->outcome), "guest %u died: %s", n + 1,
		 why);
	if (row->configuration == ROW_TWINFOLD)
		row_blame(row, "guest %u died: %s", n + 1, why);
	return -ESRCH;
}

int world_look(struct world *w)
{
	struct faults *f = &w->faults;
	int r = 0;

	if (w->engine)
		faults_collect(f);
	for (unsigned n = 0; n < f->nguests; n++) {
		w->report[n].size = sizeof(w->report[n]);
		tf_work_report(f->guest[n].work, &w->report[n]);
		f->guest[n].pages = w->report[n].pages;
	}
	for (unsigned n = 0; n < f->nguests && !r; n++)
		if (w->report[n].died)
			r = a_guest_died(w, n);
	return r;
}

static bool all_through(const struct world *w, enum tf_work_phase phase,
			const uint64_t *rounds)
{
	for (unsigned n = 0; n < w->faults.nguests; n++) {
		const struct tf_work_report *r = &w->report[n];

		if (r->phase != phase || !r->ready ||
		    r->rounds[phase] < rounds[n])
			return false;
	}
	return true;
}

int world_rounds(struct world *world, enum tf_work_phase phase, uint64_t more)
{
	uint64_t rounds[WORLD_GUESTS_MAX] = { 0 };
	int r = world_look(world);

	for (unsigned n = 0; n < world->faults.nguests; n++) {
		tf_work_command(world->faults.guest[n].work, phase);
		rounds[n] = world->report[n].rounds[phase] + more;
	}
	while (!r && !all_through(world, phase, rounds)) {
		world_rest();
		r = world_look(world);
	}
	return r;
}

int world_pause(struct world *world)
{
	for (unsigned n = 0; n < world->faults.nguests; n++) {
		struct tf_vcpu *vcpu =
			tf_work_vcpu(world->faults.guest[n].work);
		int r = vcpu ? tf_vcpu_stop(vcpu) : 0;

		if (r)
			return world_failed(world, "a vCPU does not stop", r);
	}
	return world_look(world);
}

int world_resume(struct world *world)
{
	for (unsigned n = 0; n < world->faults.nguests; n++) {
		struct tf_vcpu *vcpu =
			tf_work_vcpu(world->faults.guest[n].work);
		int r = vcpu ? tf_vcpu_start(vcpu) : 0;

		if (r)
			return world_failed(world, "a vCPU does not go on", r);
	}
	return 0;
}
