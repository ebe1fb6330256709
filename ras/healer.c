/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The healer thread. Serves requests one after the other, under the engine's
 * lock. It does not wait for that lock for ever: the thread that holds it may
 * be the one that waits for us, with an error in memory that is not known to
 * be the engine's. Then there is no verdict (EIO), and the error goes to the
 * next handler.
 *
 * It is also the thread that the kernel tells of lost pages which nobody has
 * touched yet, where the process has not chosen another: one with the policy
 * PR_MCE_KILL_EARLY is enough for all threads of a process.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>

#include "engine/base/thread.h"
#include "engine/chain.h"
#include "ras/internal.h"

#define LOCK_TRIES 8
#define LOCK_WAIT_NS 100000000

/* As tf_lock_urgent(), but not for ever. */
static bool lock_engine(struct tf_engine *e)
{
	bool locked = false;

	atomic_fetch_add(&e->urgent, 1);
	for (int i = 0; i < LOCK_TRIES && !locked; i++) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += LOCK_WAIT_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		locked = !pthread_mutex_timedlock(&e->lock, &until);
	}
	atomic_fetch_sub(&e->urgent, 1);
	return locked;
}

static void say(const struct tf_ras *ras, const struct tf_ras_verdict *told)
{
	if (ras->event && told->cls != TF_RAS_NOT_OURS)
		ras->event(ras->event_user, told);
}

/* The sharers that a thread left to us, which healed its own frame. Nobody
 * waits for us, so we wait for the lock as long as it takes. */
static void heal_others(struct tf_ras *ras, const struct ras_request *q)
{
	struct ras_heal heal = { .dup = q->dup, .fresh = q->fresh };

	tf_lock_urgent(ras->engine);
	ras_heal_dup(ras, &heal);
	ras_quick_let_go(ras->engine, q);
	tf_dup_prepare(ras->engine);
	pthread_mutex_unlock(&ras->engine->lock);
}

/* What is left of a request that was answered. */
static void finish(struct tf_ras *ras, struct ras_request *q)
{
	struct tf_ras_verdict told = q->verdict;

	if (q->rest == RAS_REST_SHARERS)
		heal_others(ras, q);
	ras_request_done(ras, q);
	say(ras, &told);
}

/* What a handler held that came to no end. */
static void let_go_late(struct tf_engine *e, const struct ras_request *held)
{
	if (!held->dup)
		return;
	tf_lock_urgent(e);
	ras_quick_let_go(e, held);
	pthread_mutex_unlock(&e->lock);
}

static void serve(struct tf_ras *ras, struct ras_request *q)
{
	struct tf_engine *e = ras->engine;
	uint64_t begin = q->begin_ns;
	const struct ras_request held = { .dup = q->dup,
					  .donor = q->donor,
					  .fresh = q->fresh };
	bool engine = q->engine;
	struct tf_ras_verdict told;

	if (!lock_engine(e)) {
		atomic_fetch_add(&ras->timeouts, 1);
		q->err = -EIO;
		ras_request_done(ras, q);
		let_go_late(e, &held);
		return;
	}
	ras_answer(ras, q, &told);
	if (held.dup)
		ras_quick_let_go(e, &held);
	pthread_mutex_unlock(&e->lock);
	told.ns = e->os->now_ns(e->os) - begin;
	/* The engine finds a page more than once: healed, it is no news. */
	if (!engine || told.cls != TF_RAS_TRANSIENT)
		say(ras, &told);
}

static bool is_waiting(const struct ras_request *q)
{
	uint32_t state = atomic_load(&q->state);

	return state == REQUEST_POSTED || state == REQUEST_ABANDONED;
}

static bool serve_all(struct tf_ras *ras)
{
	bool any = false;

	for (unsigned i = 0; i < RAS_REQUESTS; i++) {
		if (!is_waiting(&ras->request[i]))
			continue;
		if (ras->request[i].rest == RAS_REST_ALL)
			serve(ras, &ras->request[i]);
		else
			finish(ras, &ras->request[i]);
		any = true;
	}
	return any;
}

__thread bool ras_healing __attribute__((tls_model("initial-exec")));
static __thread bool is_healer __attribute__((tls_model("initial-exec")));

bool ras_is_early(const siginfo_t *info)
{
	return info->si_code == MCEERR_AO && is_healer;
}

static void *healer_main(void *arg)
{
	struct tf_ras *ras = arg;
	const struct tf_os *os = ras->engine->os;

	ras_healing = is_healer = true;
	os->tell_early(os);
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = ras->wake, .events = POLLIN },
			{ .fd = ras->later, .events = POLLIN },
		};

		if (serve_all(ras))
			continue;
		if (atomic_load(&ras->stop))
			return NULL;
		os->poll(os, fds, 2, 1000);
		os->drain(os, ras->wake);
		os->drain(os, ras->later);
	}
}

int ras_healer_start(struct tf_ras *ras)
{
	return tf_thread_start(&ras->healer, healer_main, ras);
}

void ras_healer_stop(struct tf_ras *ras)
{
	const struct tf_os *os = ras->engine->os;

	atomic_store(&ras->stop, true);
	os->signal(os, ras->wake);
	pthread_join(ras->healer, NULL);
}
