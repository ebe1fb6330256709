/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The application thread: one job at a time, handed over under its lock. */
#include "tests/lib/prop_app.h"

#include <errno.h>
#include <time.h>

#include "tests/lib/prop.h"

static void *app_main(void *arg)
{
	struct prop_app *a = arg;

	pthread_mutex_lock(&a->lock);
	while (!a->quit || a->job) {
		if (!a->job) {
			pthread_cond_wait(&a->changed, &a->lock);
			continue;
		}
		pthread_mutex_unlock(&a->lock);
		a->job(a->arg);
		pthread_mutex_lock(&a->lock);
		a->job = NULL;
		pthread_cond_broadcast(&a->changed);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

void prop_app_start(struct prop_app *a)
{
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	a->job = NULL;
	a->quit = false;
	if (pthread_create(&a->thread, NULL, app_main, a))
		prop_fail("cannot start the application thread");
}

void prop_app_stop(struct prop_app *a)
{
	pthread_mutex_lock(&a->lock);
	a->quit = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
}

void prop_app_begin(struct prop_app *a, void (*job)(void *), void *arg)
{
	pthread_mutex_lock(&a->lock);
	a->arg = arg;
	a->job = job;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

bool prop_app_wait(struct prop_app *a, int ms)
{
	struct timespec until;
	int err = 0;
	bool idle;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ms > 0 ? ms * 1000000l : 0;
	until.tv_sec += until.tv_nsec / 1000000000l;
	until.tv_nsec %= 1000000000l;
	pthread_mutex_lock(&a->lock);
	while (a->job && err != ETIMEDOUT) {
		if (ms < 0)
			pthread_cond_wait(&a->changed, &a->lock);
		else
			err = pthread_cond_timedwait(&a->changed, &a->lock,
						     &until);
	}
	idle = !a->job;
	pthread_mutex_unlock(&a->lock);
	return idle;
}

void prop_app_run(struct prop_app *a, void (*job)(void *), void *arg)
{
	prop_app_begin(a, job, arg);
	prop_app_wait(a, -1);
}
