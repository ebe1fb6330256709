/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When the engine begins: with the first block of guest RAM that QEMU names,
 * which is after it became a daemon and before it gives up its rights. It
 * ends with the process, or when QEMU locks its memory. Whatever fails here leaves the guest alone.
 *
 * A forked child has none of the threads and is left alone, too.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "vmm/qemu/preload.h"

static struct tq_life life;
static pthread_once_t once = PTHREAD_ONCE_INIT;
enum phase {
	PHASE_BEGINNING,
	PHASE_RUNNING,
	PHASE_OFF
};
static _Atomic enum phase phase;
static _Atomic(const char *) idle;
/* life.engine, against those of our threads that use it. */
static pthread_rwlock_t engine_lock = PTHREAD_RWLOCK_INITIALIZER;

const struct tq_life *tq_life(void)
{
	return atomic_load(&phase) == PHASE_RUNNING ? &life : NULL;
}

static void in_child(void)
{
	if (atomic_load(&phase) == PHASE_RUNNING)
		atomic_store(&phase, PHASE_OFF);
}

bool tq_life_wait(void)
{
	while (atomic_load(&phase) == PHASE_BEGINNING)
		poll(NULL, 0, 1);
	return tq_life() != NULL;
}

const char *tq_life_idle(void)
{
	return atomic_load(&idle);
}

bool tq_life_hold(void)
{
	pthread_rwlock_rdlock(&engine_lock);
	if (life.engine)
		return true;
	pthread_rwlock_unlock(&engine_lock);
	return false;
}

void tq_life_let_go(void)
{
	pthread_rwlock_unlock(&engine_lock);
}

/* No block is the engine's, no pass is made and no handler asks it: it may
 * go. The blocks are refused before, so that QEMU's threads do not need it. */
void tq_life_retire(const char *why)
{
	if (!tq_life() || atomic_exchange(&idle, why))
		return;
	tq_change_refuse(NULL, SIZE_MAX, 0, why);
	tq_scan_forbid(why);
	tq_sigbus_end();
	pthread_rwlock_wrlock(&engine_lock);
	tq_inside = true;
	tf_engine_destroy(life.engine);
	tq_inside = false;
	life.engine = NULL;
	pthread_rwlock_unlock(&engine_lock);
}

/* The engine has said why. */
static void forbid_if_unable(void)
{
	struct tf_stats s = { .size = sizeof(s) };
	char why[320];

	tq_say_last(why, sizeof(why));
	tf_engine_stats(life.engine, &s);
	if (!s.can_merge)
		tq_scan_forbid(why);
}

static int engine_begin(void)
{
	struct tf_engine_opts opts;
	const struct tf_guest_opts guest = { .size = sizeof(guest),
					     .name = "qemu",
					     .trust_domain = life.env.domain };
	struct tf_ras_opts ras = { .size = sizeof(ras) };
	int err;

	ras.vmce_eventfd = tq_scan_prepare();
	if (ras.vmce_eventfd < 0)
		return ras.vmce_eventfd;
	tf_engine_opts_init(&opts);
	opts.log = tq_say_line;
	tq_say_last(NULL, 0);
	if (life.env.dedup && life.env.ras)
		opts.min_copies = 2;
	err = tf_engine_create(&opts, &life.engine);
	if (!err)
		forbid_if_unable();
	if (!err)
		err = tf_guest_create(life.engine, &guest, &life.guest);
	if (!err && life.env.ras)
		err = tf_ras_install(life.engine, &ras);
	return err;
}

static int all_begin(void)
{
	int err = engine_begin();

	if (!err)
		err = pthread_atfork(NULL, NULL, in_child);
	if (!err)
		err = tq_scan_begin(&life);
	/* The last, so that nobody is let in where nothing answers. */
	if (!err)
		err = tq_ctl_begin(&life);
	return err;
}

static void say_reason(const char *why, void *arg)
{
	(void)arg;
	tq_say(TF_LOG_WARNING, "merging is off: %s", why);
}

/* tq_inside: the engine may read guest memory in this very thread. */
static void begin(void)
{
	int err;

	tq_env_read(&life.env);
	if (!life.env.bad[0] && !life.env.dedup && !life.env.ras)
		return;
	err = tq_say_open(life.env.log);
	if (err && !life.env.bad[0])
		tq_say(TF_LOG_ERR,
		       "TWINFOLD_LOG: '%.200s' cannot be written (%s): the "
		       "guest runs without twinfold",
		       life.env.log, strerror(-err));
	if (life.env.bad[0])
		tq_say(TF_LOG_ERR, "%s: the guest runs without twinfold",
		       life.env.bad);
	if (err || life.env.bad[0])
		return;
	if (life.env.unknown[0])
		tq_say(TF_LOG_WARNING,
		       "%s: there is no such setting, it is ignored; see "
		       "libtwinfold-qemu(7)",
		       life.env.unknown);
	if (life.env.dedup)
		tq_scan_reasons(say_reason, NULL);
	tq_inside = true;
	err = all_begin();
	tq_inside = false;
	if (err) {
		tq_say(TF_LOG_ERR, "%s: the guest runs without twinfold",
		       strerror(-err));
		atomic_store(&phase, PHASE_OFF);
		tf_engine_destroy(life.engine);
		return;
	}
	atomic_store(&phase, PHASE_RUNNING);
	if (life.env.agent)
		tq_say(TF_LOG_WARNING,
		       "TWINFOLD_AGENT: there is no host agent in this "
		       "version; pages are shared within this guest");
	if (life.env.ras) {
		tq_sigbus_begin();
		tq_sigmask_begin();
	}
	tq_direct_check_all();
	tq_say(TF_LOG_NOTICE, "version %s, mode %s, pace %u", TF_VERSION,
	       !life.env.ras   ? "dedup" :
	       !life.env.dedup ? "ras" :
				 "both",
	       life.env.pace);
}

const struct tq_life *tq_life_begin(void)
{
	pthread_once(&once, begin);
	return tq_life();
}
