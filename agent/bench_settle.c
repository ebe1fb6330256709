/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs passes until a side has settled, and finds the moment when it had
 * reached 99 % of its own final sharing for good. A thread samples (wall
 * time, CPU time, sharing) every 5 ms; its own CPU time is taken out.
 *
 * The samples belong to the mutex in struct sampler.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "agent/bench.h"
#include "engine/base/cleanup.h"

#define MIN_PASSES 6

struct sample {
	uint64_t wall_ns, cpu_ns, sharing;
};

struct sampler {
	struct bench_side *side;
	uint64_t wall0, cpu0;
	unsigned max_passes, stable_passes;
	pthread_t thread;
	pthread_mutex_t lock;
	struct sample *samples; /* under lock */
	size_t n, room;         /* under lock */
	uint64_t own_cpu_ns;    /* under lock: the sampling thread's */
	bool stop;              /* under lock */
	bool lost;              /* under lock: no memory, or no counters */
};

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_used(const struct sampler *s)
{
	uint64_t ns = s->side->cpu_ns() - s->cpu0;

	return s->side->cpu_is_ours && ns > s->own_cpu_ns ? ns - s->own_cpu_ns :
							    ns;
}

static bool make_room(struct sampler *s)
{
	size_t room = s->room ? 2 * s->room : 8192;
	struct sample *more;

	if (s->n < s->room)
		return true;
	more = reallocarray(s->samples, room, sizeof(*more));
	if (!more)
		return false;
	s->samples = more;
	s->room = room;
	return true;
}

/* The clocks are read last, so no side gains by a sample that took long. */
static void take_sample(struct sampler *s)
{
	TF_LOCKED(&s->lock);
	struct bench_counts c;

	if (s->side->counts(s->side, &c) || !make_room(s)) {
		s->lost = true;
		return;
	}
	s->samples[s->n++] = (struct sample){
		.wall_ns = bench_now_ns() - s->wall0,
		.cpu_ns = cpu_used(s),
		.sharing = c.sharing,
	};
}

static bool sampler_goes_on(struct sampler *s)
{
	TF_LOCKED(&s->lock);

	s->own_cpu_ns = thread_cpu_ns();
	return !s->stop && !s->lost;
}

static void *sampler_main(void *arg)
{
	const struct timespec pause = { .tv_nsec = 5 * 1000 * 1000 };
	struct sampler *s = arg;

	while (sampler_goes_on(s)) {
		nanosleep(&pause, NULL);
		take_sample(s);
	}
	return NULL;
}

static int run_passes(struct sampler *s, struct bench_settled *ret)
{
	struct bench_side *side = s->side;
	unsigned passes = 0, stable = 0;
	uint64_t last = 0;
	int code;

	do {
		code = side->pass(side);
		take_sample(s);
		code = code ? code : side->counts(side, &ret->counts);
		if (code)
			return code;
		passes++;
		stable = ret->counts.sharing > last ? 0 : stable + 1;
		last = ret->counts.sharing;
	} while (passes < s->max_passes &&
		 (stable < s->stable_passes || passes < MIN_PASSES));
	ret->passes = passes;
	return TF_EXIT_OK;
}

/* The first sample after which sharing never was below 99 % of its end. */
static void find_end(const struct sampler *s, struct bench_settled *ret)
{
	size_t i = s->n;

	while (i && (double)s->samples[i - 1].sharing >=
			    0.99 * (double)ret->counts.sharing)
		i--;
	if (i == s->n && i)
		i--;
	ret->cpu_ns = s->n ? s->samples[i].cpu_ns : 0;
	ret->wall_ns = s->n ? s->samples[i].wall_ns : 0;
}

static int sampled_passes(struct sampler *s, struct bench_settled *ret)
{
	int code;

	if (pthread_create(&s->thread, NULL, sampler_main, s))
		return bench_fail(TF_EXIT_FAILED, "cannot start a thread");
	code = run_passes(s, ret);
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	if (!code && s->lost)
		code = bench_fail(TF_EXIT_FAILED, "samples were lost");
	if (!code)
		find_end(s, ret);
	return code;
}

int bench_settle(struct bench_side *side, const struct bench_area *area,
		 unsigned max_passes, unsigned stable_passes,
		 struct bench_settled *ret)
{
	struct sampler s = {
		.side = side,
		.max_passes = max_passes,
		.stable_passes = stable_passes,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.wall0 = bench_now_ns(),
		.cpu0 = side->cpu_ns(),
	};
	int code = side->is_open ? TF_EXIT_OK : side->open(side, area);

	if (code)
		return code;
	side->is_open = true;
	code = sampled_passes(&s, ret);
	free(s.samples);
	return code;
}
