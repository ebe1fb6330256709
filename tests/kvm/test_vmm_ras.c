/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests that check all of their memory while pages of theirs are lost: those
 * with a second stable copy, and zero pages. The guests must not notice. A
 * guest that loses its only copy of a page, and has machine checks off, is
 * stopped with the reason.
 *
 * ctest-timeout: 300
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/chain.h"
#include "engine/copy.h"
#include "engine/state.h"
#include "twinfold/twinfold.h"
#include "twinfold/vmm.h"

#define GUESTS 2
#define FAULTS 24
#define PATIENCE_S 120

struct world {
	struct tf_engine *engine;
	struct tf_guest *guest[GUESTS];
	struct tf_work *work[GUESTS];
	unsigned random;
	bool deaf;
};

static void nap(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static struct tf_stats stats_of(struct world *w)
{
	struct tf_stats s = { .size = sizeof(s) };

	assert_int_equal(tf_engine_stats(w->engine, &s), 0);
	return s;
}

static void add_guest(struct world *w, unsigned n, enum tf_backend backend)
{
	struct tf_guest_opts guest = { .size = sizeof(guest),
				       .trust_domain = "test" };
	struct tf_work_opts work = { .size = sizeof(work),
				     .backend = backend,
				     .id = n + 1,
				     .bytes = TF_WORK_MEM_MIN,
				     .engine = w->engine,
				     .deaf = w->deaf };

	assert_int_equal(tf_guest_create(w->engine, &guest, &w->guest[n]), 0);
	work.guest = w->guest[n];
	assert_int_equal(tf_work_create(&work, &w->work[n]), 0);
	assert_int_equal(tf_work_start(w->work[n]), 0);
}

static void set_up(struct world *w, enum tf_backend backend, bool deaf)
{
	struct tf_engine_opts opts;

	memset(w, 0, sizeof(*w));
	w->random = 1;
	w->deaf = deaf;
	tf_engine_opts_init(&opts);
	opts.min_copies = 2;
	opts.copy_sharers = 2;
	assert_int_equal(tf_engine_create(&opts, &w->engine), 0);
	assert_int_equal(tf_ras_install(w->engine, NULL), 0);
	for (unsigned n = 0; n < GUESTS; n++)
		add_guest(w, n, backend);
}

static void tear_down(struct world *w)
{
	for (unsigned n = 0; n < GUESTS; n++) {
		tf_work_destroy(w->work[n]);
		tf_guest_destroy(w->guest[n]);
	}
	tf_engine_destroy(w->engine);
}

static struct tf_work_report report_of(struct world *w, unsigned n)
{
	struct tf_work_report r = { .size = sizeof(r) };

	assert_int_equal(tf_work_report(w->work[n], &r), 0);
	return r;
}

static bool all_through(struct world *w, enum tf_work_phase phase,
			const uint64_t *rounds)
{
	for (unsigned n = 0; n < GUESTS; n++) {
		struct tf_work_report r = report_of(w, n);

		if (r.died)
			fail_msg("guest %u died: %s", n + 1,
				 tf_work_why(w->work[n]));
		if (r.failures)
			fail_msg("guest %u: wrong bytes at gpa 0x%llx", n + 1,
				 (unsigned long long)r.bad_gpa[0]);
		if (r.phase != phase || !r.ready || r.rounds[phase] < rounds[n])
			return false;
	}
	return true;
}

static void wait_for(struct world *w, enum tf_work_phase phase, uint64_t more)
{
	uint64_t rounds[GUESTS];

	for (unsigned n = 0; n < GUESTS; n++)
		rounds[n] = report_of(w, n).rounds[phase] + more;
	for (int i = 0; i < PATIENCE_S * 20; i++) {
		if (all_through(w, phase, rounds))
			return;
		nap(50);
	}
	fail_msg("phase %d: no end after %d s", (int)phase, PATIENCE_S);
}

static void go(struct world *w, enum tf_work_phase phase, uint64_t rounds)
{
	for (unsigned n = 0; n < GUESTS; n++)
		assert_int_equal(tf_work_command(w->work[n], phase), 0);
	wait_for(w, phase, rounds);
}

/*
 * May this frame be lost without a trace? Another copy has to be there to read:
 * one that was lost before, and that no guest has touched since, is not known
 * to be bad.
 */
static bool heals(const struct tf_engine *e, const struct tf_block *b,
		  unsigned page)
{
	const struct tf_frame *f = &b->frames[page];
	uint32_t id;

	if (f->state != TF_FRAME_SHARED || !tf_dup_is_healthy(e, f->shared.dup))
		return false;
	id = tf_dup_get(e, f->shared.dup)->next;
	while (id != f->shared.dup && !tf_dup_is_healthy(e, id))
		id = tf_dup_get(e, id)->next;
	return id != f->shared.dup;
}

/* A frame that heals, at random: its gpa and guest. Caller: nobody else
 * injects, so a second copy that is there stays. */
static bool pick(struct world *w, unsigned *guest, uint64_t *gpa)
{
	struct tf_region *r;
	bool found = false;

	*guest = (unsigned)rand_r(&w->random) % GUESTS;
	pthread_mutex_lock(&w->engine->lock);
	tf_list_for_each(r, &w->guest[*guest]->regions, link) {
		const struct tf_block *b = tf_block_next(r, 0);
		unsigned from = (unsigned)rand_r(&w->random) % TF_BLOCK_PAGES;

		for (unsigned i = 0; b && !found && i < TF_BLOCK_PAGES; i++) {
			unsigned page = (from + i) % TF_BLOCK_PAGES;

			if (!heals(w->engine, b, page))
				continue;
			*gpa = tf_region_gpa(r, tf_frame_addr(b, page));
			found = true;
		}
	}
	pthread_mutex_unlock(&w->engine->lock);
	return found;
}

static uint64_t lose_some(struct world *w)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < FAULTS; i++) {
		unsigned guest;
		uint64_t gpa;

		if (pick(w, &guest, &gpa)) {
			assert_int_equal(tf_ras_inject(w->engine,
						       w->guest[guest], gpa,
						       TF_INJECT_SIM),
					 0);
			lost++;
		}
		nap(50);
	}
	return lost;
}

static void guests_do_not_notice(enum tf_backend backend)
{
	struct tf_stats s;
	struct world w;
	uint64_t lost;

	set_up(&w, backend, false);
	go(&w, TF_WORK_FILL, 0);
	assert_int_equal(tf_engine_start(w.engine), 0);
	go(&w, TF_WORK_RUN, 3);
	for (int i = 0; i < PATIENCE_S * 20; i++) {
		if (stats_of(&w).pages_recoverable > FAULTS)
			break;
		nap(50);
	}
	assert_true(stats_of(&w).pages_recoverable > FAULTS);
	lost = lose_some(&w);
	assert_true(lost > FAULTS / 2);
	wait_for(&w, TF_WORK_RUN, 2); /* every page was looked at since */
	go(&w, TF_WORK_OVERWRITE, 2);
	s = stats_of(&w);
	printf("%llu lost, %llu healed, %llu from a fresh copy, %llu vMCEs\n",
	       (unsigned long long)lost, (unsigned long long)s.heals,
	       (unsigned long long)s.heals_fresh_copy,
	       (unsigned long long)s.vmces);
	assert_true(s.heals > 0 && s.heals <= lost);
	assert_int_equal(s.vmces, 0);
	assert_int_equal(tf_engine_stop(w.engine), 0);
	tear_down(&w);
}

static void kvm_guests_do_not_notice(void **state)
{
	(void)state;
	guests_do_not_notice(TF_BACKEND_KVM);
}

static void threads_do_not_notice(void **state)
{
	(void)state;
	guests_do_not_notice(TF_BACKEND_THREAD);
}

/* The only copy, in a guest that takes no machine checks. */
static void an_only_copy_stops_a_deaf_guest(void **state)
{
	struct tf_work_report r;
	struct world w;

	(void)state;
	set_up(&w, TF_BACKEND_KVM, true);
	go(&w, TF_WORK_FILL, 0);
	r = report_of(&w, 0);
	assert_int_equal(tf_ras_inject(w.engine, w.guest[0], r.first_gpa,
				       TF_INJECT_SIM),
			 0);
	for (unsigned n = 0; n < GUESTS; n++)
		assert_int_equal(tf_work_command(w.work[n], TF_WORK_RUN), 0);
	for (int i = 0; i < PATIENCE_S * 20 && !r.died; i++) {
		nap(50);
		r = report_of(&w, 0);
	}
	assert_true(r.died);
	assert_non_null(strstr(tf_work_why(w.work[0]), "machine checks off"));
	assert_int_equal(stats_of(&w).vmces, 1);
	assert_false(report_of(&w, 1).died);
	tear_down(&w);
}

static int no_kvm(void)
{
	struct tf_vm *vm = NULL;
	int r = tf_vm_create(NULL, &vm);

	tf_vm_destroy(vm);
	return r;
}

static bool can_merge(void)
{
	struct world w = { 0 };
	bool can;

	assert_int_equal(tf_engine_create(NULL, &w.engine), 0);
	can = stats_of(&w).can_merge;
	tf_engine_destroy(w.engine);
	return can;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_do_not_notice),
		cmocka_unit_test(kvm_guests_do_not_notice),
		cmocka_unit_test(an_only_copy_stops_a_deaf_guest),
	};

	if (no_kvm() || !can_merge()) {
		fprintf(stderr,
			"skipped: no KVM virtual machine here, or pages "
			"cannot be merged\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
