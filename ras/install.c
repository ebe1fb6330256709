/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of an engine's ras: its healer, its hooks in the engine, its place
 * among those that the SIGBUS handler asks. Both ends are under install_lock,
 * except for the waits of the second.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/base/cleanup.h"
#include "engine/chain.h"
#include "engine/opts.h"
#include "ras/internal.h"

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

static void poison_found(struct tf_engine *e, const void *addr)
{
	struct tf_ras *ras = ras_enter(e);

	if (!ras)
		return;
	ras_note(ras, addr);
	ras_leave(ras);
}

static void heal_lost(struct tf_engine *e, const void *addr)
{
	struct tf_ras *ras;

	pthread_mutex_unlock(&e->lock);
	ras = ras_enter(e);
	if (ras) {
		ras_wait_for(ras, addr);
		ras_leave(ras);
	}
	pthread_mutex_lock(&e->lock);
}

static void guest_gone(struct tf_engine *e, const struct tf_guest *g)
{
	struct tf_ras *ras = ras_enter(e);

	if (!ras)
		return;
	ras_vmce_forget(ras, g);
	ras_leave(ras);
}

static void ras_stats(struct tf_engine *e, struct tf_stats *ret)
{
	struct tf_ras *ras = ras_enter(e);

	if (!ras)
		return;
	ret->unrecoverable = atomic_load(&ras->unrecoverable);
	ret->transient_failed = atomic_load(&ras->timeouts);
	ras_leave(ras);
}

static void ras_free(struct tf_ras *ras)
{
	const struct tf_os *os = ras->engine->os;

	if (ras->wake >= 0)
		os->close(os, ras->wake);
	if (ras->later >= 0)
		os->close(os, ras->later);
	pthread_mutex_destroy(&ras->vmce_lock);
	free(ras);
}

static int ras_open(struct tf_ras *ras)
{
	const struct tf_os *os = ras->engine->os;

	ras->wake = os->eventfd(os);
	ras->later = os->timer(os);
	if (ras->wake < 0)
		return ras->wake;
	return ras->later < 0 ? ras->later : 0;
}

static int ras_new(struct tf_engine *e, const struct tf_ras_opts *given,
		   struct tf_ras **ret)
{
	struct tf_ras_opts opts = { .size = sizeof(opts), .vmce_eventfd = -1 };
	struct tf_ras *ras;
	int err = tf_opts_copy(&opts, sizeof(opts), given);

	if (err)
		return err;
	ras = calloc(1, sizeof(*ras));
	if (!ras)
		return -ENOMEM;
	ras->engine = e;
	ras->vmce_eventfd = opts.vmce_eventfd;
	ras->event = opts.event;
	ras->event_user = opts.event_user;
	pthread_mutex_init(&ras->vmce_lock, NULL);
	err = ras_open(ras);
	if (err)
		ras_free(ras);
	else
		*ret = ras;
	return err;
}

/* Caller holds install_lock. */
static int publish(struct tf_engine *e, struct tf_ras *ras)
{
	int err = ras_signal_list(e);

	if (err)
		return err;
	pthread_mutex_lock(&e->lock);
	tf_dup_prepare(e);
	e->poison_found = poison_found;
	e->heal_lost = heal_lost;
	e->guest_gone = guest_gone;
	e->ras_end = tf_ras_uninstall;
	e->ras_stats = ras_stats;
	pthread_mutex_unlock(&e->lock);
	atomic_store(&e->ras, ras);
	return 0;
}

/* Caller holds install_lock. The handler is there: the healer asks the kernel
 * to be told of errors. */
static int begin(struct tf_engine *e, struct tf_ras *ras)
{
	int err = ras_healer_start(ras);

	if (err)
		return err;
	err = publish(e, ras);
	if (err)
		ras_healer_stop(ras);
	return err;
}

int tf_ras_install(struct tf_engine *e, const struct tf_ras_opts *opts)
{
	struct tf_ras *ras;
	int err;
	TF_LOCKED(&install_lock);

	if (atomic_load(&e->ras))
		return -EALREADY;
	err = ras_new(e, opts, &ras);
	if (err)
		return err;
	err = ras_signal_get();
	if (!err) {
		err = begin(e, ras);
		if (err)
			ras_signal_put();
	}
	if (err)
		ras_free(ras);
	return err;
}

void tf_ras_uninstall(struct tf_engine *e)
{
	struct tf_ras *ras = NULL;

	if (!e)
		return;
	pthread_mutex_lock(&install_lock);
	ras_signal_unlist(e);
	ras = atomic_exchange(&e->ras, NULL);
	pthread_mutex_unlock(&install_lock);
	if (!ras)
		return;
	pthread_mutex_lock(&e->lock);
	e->poison_found = NULL;
	e->heal_lost = NULL;
	e->guest_gone = NULL;
	e->ras_end = NULL;
	e->ras_stats = NULL;
	pthread_mutex_unlock(&e->lock);
	/* The healer still answers those that are inside. */
	ras_signal_drain(ras);
	ras_healer_stop(ras);
	/* Not before: the healer reads what may be lost. */
	pthread_mutex_lock(&install_lock);
	ras_signal_put();
	pthread_mutex_unlock(&install_lock);
	ras_free(ras);
}
