/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The background worker: passes, and naps between them. A pass that found
 * work is followed by a short nap, idle ones by longer and longer naps.
 */
#include "engine/worker.h"

#include <errno.h>

#include "engine/base/cleanup.h"
#include "engine/base/thread.h"
#include "engine/pass.h"
#include "engine/state.h"

#define NAP_MIN_MS 20
#define NAP_MAX_MS 1000

static bool found_work(const struct tf_pass *p)
{
	return p->merged || p->zero_merged || p->changed || p->pages_hashed;
}

static void *worker_main(void *arg)
{
	struct tf_engine *e = arg;
	struct pollfd wake = { .fd = e->worker.wake, .events = POLLIN };
	int nap = NAP_MIN_MS;

	while (!atomic_load(&e->worker.stop)) {
		struct tf_pass pass = { 0 };
		int err = tf_pass_run(e, true, &pass);

		if (err && err != -ECANCELED)
			tf_log(&e->log, TF_LOG_WARNING,
			       "a pass ended early: error %d", -err);
		if (found_work(&pass))
			nap = NAP_MIN_MS;
		else if (nap < NAP_MAX_MS)
			nap = nap * 2 < NAP_MAX_MS ? nap * 2 : NAP_MAX_MS;
		e->os->poll(e->os, &wake, 1, nap);
	}
	return NULL;
}

int tf_worker_start(struct tf_engine *e)
{
	struct tf_worker *w = &e->worker;
	int err;
	TF_LOCKED(&e->lock);

	if (w->running)
		return -EALREADY;
	atomic_store(&w->stop, false);
	err = tf_thread_start(&w->thread, worker_main, e);
	w->running = !err;
	return err;
}

int tf_worker_stop(struct tf_engine *e)
{
	struct tf_worker *w = &e->worker;
	pthread_t thread;

	pthread_mutex_lock(&e->lock);
	if (!w->running) {
		pthread_mutex_unlock(&e->lock);
		return 0;
	}
	w->running = false;
	thread = w->thread;
	pthread_mutex_unlock(&e->lock);
	atomic_store(&w->stop, true);
	e->os->signal(e->os, w->wake);
	pthread_join(thread, NULL);
	e->os->drain(e->os, w->wake);
	return 0;
}
