/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scanning thread: gives quiet blocks to the engine, makes passes, and
 * sleeps so long between them that it takes no more of a CPU than it may. It
 * owns the reasons not to merge: they stay until the process ends.
 *
 * The scan lock is held over a pass, by whoever makes it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/thread.h"
#include "vmm/qemu/preload.h"

#define NAP_MIN_MS 20
#define NAP_MAX_MS 1000
#define REASONS_MAX 8

static pthread_mutex_t scan_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool on, forbidden;
static atomic_int wake = -1;

static pthread_mutex_t reasons_lock = PTHREAD_MUTEX_INITIALIZER;
static char reasons[REASONS_MAX][320]; /* under reasons_lock */
static unsigned nreasons;              /* likewise */

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int tq_scan_pass(struct tf_pass *ret)
{
	TF_LOCKED(&scan_lock);

	if (atomic_load(&forbidden))
		return -EPERM;
	return tf_engine_pass(tq_life()->engine, ret);
}

/* One of the scanning thread's own. */
static int scan_pass(struct tf_pass *ret)
{
	TF_LOCKED(&scan_lock);

	if (!tq_scan_is_on())
		return -ECANCELED;
	return tf_engine_pass(tq_life()->engine, ret);
}

/* An idle guest writes a few pages all the time: they can wait. */
#define WORTH_A_HURRY 256

static bool found_work(const struct tf_pass *p)
{
	return p->merged + p->zero_merged >= WORTH_A_HURRY;
}

static unsigned longer(unsigned nap)
{
	return nap * 2 < NAP_MAX_MS ? nap * 2 : NAP_MAX_MS;
}

#define SOON_NS 1000000

static bool scan_lock_soon(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += SOON_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return !pthread_mutex_timedlock(&scan_lock, &until);
}

/* What `on` and `forbidden` say holds for all passes, when this returns. The
 * one that is under way ends early, and so does one that had looked at them
 * but not begun. */
static void end_pass(void)
{
	if (!tq_life() || !tq_life_hold())
		return;
	do
		tf_engine_cancel(tq_life()->engine);
	while (!scan_lock_soon());
	pthread_mutex_unlock(&scan_lock);
	tq_life_let_go();
}

/* Milliseconds to rest after `ns` of work, at `pace` per cent of a CPU. */
static unsigned rest_ms(uint64_t ns, unsigned pace)
{
	uint64_t ms = ns * (100 - pace) / pace / 1000000;

	return ms < 600000 ? (unsigned)ms : 600000;
}

/* QEMU has told its guest itself, or will. The first few are named. */
static void drop_vmces(void)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	unsigned n = 0;

	for (; !tf_ras_take_vmce(tq_life()->engine, 0, &vmce); n++)
		if (n < 8)
			tq_say(TF_LOG_WARNING,
			       "gpa %#llx is lost: there was no healthy copy",
			       (unsigned long long)vmce.gpa);
	if (n > 8)
		tq_say(TF_LOG_WARNING, "and %u other pages", n - 8);
}

/* A pass, and how long to rest after it. */
static unsigned pass_and_rest(unsigned *nap, unsigned pace)
{
	struct tf_pass pass = { .size = sizeof(pass) };
	uint64_t begin = cpu_ns();
	unsigned rest;
	int err = scan_pass(&pass);

	if (err && err != -ECANCELED)
		tq_say(TF_LOG_WARNING, "a pass failed: %s", strerror(-err));
	*nap = !err && found_work(&pass) ? NAP_MIN_MS : longer(*nap);
	rest = rest_ms(cpu_ns() - begin, pace);
	return rest > *nap ? rest : *nap;
}

static void *scan_main(void *arg)
{
	const struct tq_life *life = arg;
	struct pollfd woken = { .fd = atomic_load(&wake), .events = POLLIN };
	unsigned nap = NAP_MIN_MS;

	if (!tq_life_wait())
		return NULL;
	for (;;) {
		unsigned wait = 60000, rest = 60000;
		uint64_t n;

		if (tq_life_hold()) {
			wait = tq_blocks_attach(wait);
			drop_vmces();
			if (tq_scan_is_on())
				rest = pass_and_rest(&nap, life->env.pace);
			tq_life_let_go();
		} else {
			wait = tq_blocks_attach(wait); /* which refuses them */
		}
		if (poll(&woken, 1, (int)(rest < wait ? rest : wait)) > 0)
			(void)!read(woken.fd, &n, sizeof(n));
	}
	return NULL;
}

int tq_scan_prepare(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	atomic_store(&wake, fd);
	return fd;
}

int tq_scan_begin(const struct tq_life *life)
{
	pthread_t thread;
	int err;

	atomic_store(&on, life->env.dedup);
	if (!life->env.dedup)
		tq_scan_forbid("TWINFOLD_MODE is ras: merging is left to KSM");
	err = tf_thread_start(&thread, scan_main, (void *)life);
	if (!err)
		pthread_setname_np(thread, "twinfold-scan");
	return err;
}

void tq_scan_wake(void)
{
	uint64_t one = 1;
	int saved = errno, fd = atomic_load(&wake);

	if (fd >= 0)
		(void)!write(fd, &one, sizeof(one));
	errno = saved;
}

int tq_scan_switch(bool to)
{
	if (to && atomic_load(&forbidden))
		return -EPERM;
	atomic_store(&on, to);
	if (!to)
		end_pass();
	tq_scan_wake();
	return 0;
}

bool tq_scan_is_on(void)
{
	return atomic_load(&on) && !atomic_load(&forbidden);
}

bool tq_scan_is_forbidden(void)
{
	return atomic_load(&forbidden);
}

static bool reason_add(const char *why)
{
	TF_LOCKED(&reasons_lock);

	for (unsigned i = 0; i < nreasons; i++)
		if (!strcmp(reasons[i], why))
			return false;
	if (nreasons < REASONS_MAX)
		snprintf(reasons[nreasons++], sizeof(reasons[0]), "%s", why);
	return true;
}

void tq_scan_forbid(const char *why)
{
	int saved = errno;

	if (reason_add(why) && tq_life())
		tq_say(TF_LOG_WARNING, "merging is off: %s", why);
	atomic_store(&forbidden, true);
	end_pass();
	errno = saved;
}

void tq_scan_reasons(void (*each)(const char *, void *), void *arg)
{
	TF_LOCKED(&reasons_lock);

	for (unsigned i = 0; i < nreasons; i++)
		each(reasons[i], arg);
}
