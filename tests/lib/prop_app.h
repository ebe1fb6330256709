/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An application thread: it touches guest memory on behalf of a test, so that
 * the test never touches it in a thread that is inside the engine. A job may
 * sleep in a fault until the engine has answered it.
 */
#ifndef TF_TESTS_PROP_APP_H
#define TF_TESTS_PROP_APP_H

#include <pthread.h>
#include <stdbool.h>

struct prop_app {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	void (*job)(void *arg); /* NULL: idle */
	void *arg;
	bool quit;
};

void prop_app_start(struct prop_app *a);
void prop_app_stop(struct prop_app *a);

/* Give it a job; it must be idle. */
void prop_app_begin(struct prop_app *a, void (*job)(void *), void *arg);

/* Is it idle within `ms` milliseconds? Negative: wait for ever, true. */
bool prop_app_wait(struct prop_app *a, int ms);

/* Begin and wait. */
void prop_app_run(struct prop_app *a, void (*job)(void *), void *arg);

#endif
