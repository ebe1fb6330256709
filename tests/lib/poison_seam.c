/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seam's plan: when a page is lost, and what the test says and asks. The
 * calls are in poison_seam_reads.c and poison_seam_maps.c.
 */
#include "tests/lib/poison_seam.h"

#include "tests/lib/poison_seam_calls.h"
#include "tests/lib/poison_trap.h"

__thread struct seam_mine seam_mine;
struct seam_last seam_last;
struct poison_seam poison_seam = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char *const names[POINTS] = {
	"hash of a guest's page",
	"hash of a slot",
	"comparison",
	"copy of a break",
	"copy back",
	"promotion",
	"copy of a donor",
	"map",
	"protect",
	"break",
	"move out",
	"move back",
};

const char *poison_point_name(enum poison_point point)
{
	return names[point];
}

struct tf_engine *seam_engine(void)
{
	return poison_seam.oracle.e;
}

bool seam_due(enum poison_point point)
{
	struct poison_seam *p = &poison_seam;
	bool now = false;

	if (!atomic_load(&p->on) || seam_mine.injecting || seam_mine.checking)
		return false;
	pthread_mutex_lock(&p->lock);
	p->calls[point]++;
	if (p->budget && p->point == point) {
		now = !p->countdown;
		p->countdown -= !now;
		p->budget -= now;
	}
	p->fired[point] += now;
	pthread_mutex_unlock(&p->lock);
	if (now)
		prop_note("  a page is lost at a %s", names[point]);
	return now;
}

bool seam_is_on(void)
{
	return atomic_load(&poison_seam.on);
}

bool seam_guests_page(const void *p)
{
	struct fate_page at;

	return fates_find(poison_seam.oracle.fates, p, &at);
}

/* ---- for the test ---- */

void poison_seam_init(struct fates *f)
{
	struct poison_seam *p = &poison_seam;

	p->os = tf_os_linux;
	seam_wrap_reads(&p->os);
	seam_wrap_maps(&p->os);
	p->oracle.fates = f;
	p->budget = 0;
}

void poison_seam_begin(struct tf_engine *e)
{
	poison_seam.oracle.e = e;
	trap_begin(e);
	atomic_store(&poison_seam.on, true);
}

void poison_seam_end(void)
{
	atomic_store(&poison_seam.on, false);
}

void poison_seam_arm(enum poison_point point, unsigned countdown,
		     unsigned budget, uint64_t seed)
{
	pthread_mutex_lock(&poison_seam.lock);
	poison_seam.point = point;
	poison_seam.countdown = countdown;
	poison_seam.budget = budget;
	poison_seam.rng.state = seed;
	pthread_mutex_unlock(&poison_seam.lock);
}

void poison_seam_disarm(void)
{
	pthread_mutex_lock(&poison_seam.lock);
	poison_seam.budget = 0;
	pthread_mutex_unlock(&poison_seam.lock);
}

void poison_seam_check(struct tf_engine *e, const char *when)
{
	pthread_mutex_lock(&e->lock);
	trap_learn_known();
	pthread_mutex_unlock(&e->lock);
	seam_mine.checking = true;
	prop_check_engine(e, when);
	seam_mine.checking = false;
}

int poison_seam_inject(struct tf_engine *e, struct tf_guest *g, uint64_t gpa,
		       const char *addr)
{
	int err;

	seam_mine.injecting = true;
	seam_mine.staged = false;
	seam_mine.inject = addr;
	err = tf_ras_inject(e, g, gpa, TF_INJECT_SIM);
	seam_mine.injecting = false;
	seam_mine.inject = NULL;
	return err;
}
