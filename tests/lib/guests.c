/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking workloads, and how far they are. */
#include "lib/guests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NAP_MS 10
#define NAPS (PATIENCE_S * 1000 / NAP_MS)

void nap(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

struct tf_work_report work_report(struct tf_work *work)
{
	struct tf_work_report r = { .size = sizeof(r) };

	assert_int_equal(tf_work_report(work, &r), 0);
	if (r.died)
		fail_msg("the guest died: %s", tf_work_why(work));
	return r;
}

static bool is_through(const struct tf_work_report *r, enum tf_work_phase phase,
		       uint64_t rounds)
{
	return r->phase == phase && r->ready && r->rounds[phase] >= rounds;
}

struct tf_work_report work_go(struct tf_work *work, enum tf_work_phase phase,
			      uint64_t more)
{
	struct tf_work_report r = work_report(work);
	uint64_t rounds = r.rounds[phase] + more;

	assert_int_equal(tf_work_command(work, phase), 0);
	for (int i = 0; i < NAPS; i++) {
		r = work_report(work);
		if (is_through(&r, phase, rounds))
			return r;
		nap(NAP_MS);
	}
	fail_msg("phase %d: no end after %d s (round %d)", (int)phase,
		 PATIENCE_S, (int)r.rounds[phase]);
	return r;
}

/* ---- two of them ---- */

void pair_add(struct pair *p, const struct tf_work_opts *opts)
{
	struct tf_guest_opts guest = { .size = sizeof(guest),
				       .trust_domain = "test" };
	struct tf_work_opts work = *opts;

	work.size = sizeof(work);
	work.bytes = TF_WORK_MEM_MIN;
	for (unsigned n = 0; n < PAIR; n++) {
		assert_int_equal(
			tf_guest_create(p->engine, &guest, &p->guest[n]), 0);
		work.id = n + 1;
		work.guest = p->guest[n];
		assert_int_equal(tf_work_create(&work, &p->work[n]), 0);
		assert_int_equal(tf_work_start(p->work[n]), 0);
	}
}

void pair_close(struct pair *p)
{
	for (unsigned n = 0; n < PAIR; n++) {
		tf_work_destroy(p->work[n]);
		tf_guest_destroy(p->guest[n]);
	}
	tf_engine_destroy(p->engine);
}

struct tf_stats pair_stats(const struct pair *p)
{
	struct tf_stats s = { .size = sizeof(s) };

	assert_int_equal(tf_engine_stats(p->engine, &s), 0);
	return s;
}

static bool all_through(struct pair *p, enum tf_work_phase phase,
			const uint64_t *rounds)
{
	for (unsigned n = 0; n < PAIR; n++) {
		struct tf_work_report r = work_report(p->work[n]);

		if (r.failures)
			fail_msg("guest %u: wrong bytes at gpa 0x%llx", n + 1,
				 (unsigned long long)r.bad_gpa[0]);
		if (!is_through(&r, phase, rounds[n]))
			return false;
	}
	return true;
}

void pair_wait(struct pair *p, enum tf_work_phase phase, uint64_t more)
{
	uint64_t rounds[PAIR];

	for (unsigned n = 0; n < PAIR; n++)
		rounds[n] = work_report(p->work[n]).rounds[phase] + more;
	for (int i = 0; i < NAPS; i++) {
		if (all_through(p, phase, rounds))
			return;
		nap(NAP_MS);
	}
	fail_msg("phase %d: no end after %d s", (int)phase, PATIENCE_S);
}

void pair_go(struct pair *p, enum tf_work_phase phase, uint64_t more)
{
	for (unsigned n = 0; n < PAIR; n++)
		assert_int_equal(tf_work_command(p->work[n], phase), 0);
	pair_wait(p, phase, more);
}

/* ---- this host ---- */

bool has_kvm(void)
{
	struct tf_vm *vm = NULL;
	int r = tf_vm_create(NULL, &vm);

	tf_vm_destroy(vm);
	if (r)
		fprintf(stderr, "skipped: no KVM virtual machine here: %s\n",
			strerror(-r));
	return !r;
}

bool has_merging(void)
{
	struct pair p = { 0 };
	bool can;

	assert_int_equal(tf_engine_create(NULL, &p.engine), 0);
	can = pair_stats(&p).can_merge;
	pair_close(&p);
	if (!can)
		fprintf(stderr, "skipped: this host cannot merge pages "
				"(userfaultfd with UFFDIO_MOVE)\n");
	return can;
}
