/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests that check all of their memory while pages of theirs are lost: those
 * with a second stable copy, and zero pages. The guests must not notice. A
 * guest that loses its only copy of a page, and has machine checks off, is
 * stopped with the reason.
 *
 * ctest-timeout: 300
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/chain.h"
#include "engine/copy.h"
#include "engine/state.h"
#include "lib/guests.h"

#define FAULTS 24

struct world {
	struct pair pair;
	unsigned random;
};

static void set_up(struct world *w, enum tf_backend backend, bool deaf)
{
	struct tf_work_opts work = { .backend = backend, .deaf = deaf };
	struct tf_engine_opts opts;

	*w = (struct world){ .random = 1 };
	tf_engine_opts_init(&opts);
	opts.min_copies = 2;
	opts.copy_sharers = 2;
	assert_int_equal(tf_engine_create(&opts, &w->pair.engine), 0);
	assert_int_equal(tf_ras_install(w->pair.engine, NULL), 0);
	work.engine = w->pair.engine;
	pair_add(&w->pair, &work);
}

static struct tf_work_report report_of(struct world *w, unsigned n)
{
	struct tf_work_report r = { .size = sizeof(r) };

	assert_int_equal(tf_work_report(w->pair.work[n], &r), 0);
	return r;
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

	*guest = (unsigned)rand_r(&w->random) % PAIR;
	pthread_mutex_lock(&w->pair.engine->lock);
	tf_list_for_each(r, &w->pair.guest[*guest]->regions, link) {
		const struct tf_block *b = tf_block_next(r, 0);
		unsigned from = (unsigned)rand_r(&w->random) % TF_BLOCK_PAGES;

		for (unsigned i = 0; b && !found && i < TF_BLOCK_PAGES; i++) {
			unsigned page = (from + i) % TF_BLOCK_PAGES;

			if (!heals(w->pair.engine, b, page))
				continue;
			*gpa = tf_region_gpa(r, tf_frame_addr(b, page));
			found = true;
		}
	}
	pthread_mutex_unlock(&w->pair.engine->lock);
	return found;
}

static uint64_t lose_some(struct world *w)
{
	uint64_t lost = 0;

	for (unsigned i = 0; i < FAULTS; i++) {
		unsigned guest;
		uint64_t gpa;

		if (pick(w, &guest, &gpa)) {
			assert_int_equal(tf_ras_inject(w->pair.engine,
						       w->pair.guest[guest],
						       gpa, TF_INJECT_SIM),
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
	pair_go(&w.pair, TF_WORK_FILL, 0);
	assert_int_equal(tf_engine_start(w.pair.engine), 0);
	pair_go(&w.pair, TF_WORK_RUN, 3);
	for (int i = 0; i < PATIENCE_S * 20; i++) {
		if (pair_stats(&w.pair).pages_recoverable > FAULTS)
			break;
		nap(50);
	}
	assert_true(pair_stats(&w.pair).pages_recoverable > FAULTS);
	lost = lose_some(&w);
	assert_true(lost > FAULTS / 2);
	pair_wait(&w.pair, TF_WORK_RUN, 2); /* every page was looked at since */
	pair_go(&w.pair, TF_WORK_OVERWRITE, 2);
	s = pair_stats(&w.pair);
	printf("%llu lost, %llu healed, %llu from a fresh copy, %llu vMCEs\n",
	       (unsigned long long)lost, (unsigned long long)s.heals,
	       (unsigned long long)s.heals_fresh_copy,
	       (unsigned long long)s.vmces);
	assert_true(s.heals > 0 && s.heals <= lost);
	assert_int_equal(s.vmces, 0);
	assert_int_equal(tf_engine_stop(w.pair.engine), 0);
	pair_close(&w.pair);
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
	pair_go(&w.pair, TF_WORK_FILL, 0);
	r = report_of(&w, 0);
	assert_int_equal(tf_ras_inject(w.pair.engine, w.pair.guest[0],
				       r.first_gpa, TF_INJECT_SIM),
			 0);
	for (unsigned n = 0; n < PAIR; n++)
		assert_int_equal(tf_work_command(w.pair.work[n], TF_WORK_RUN),
				 0);
	for (int i = 0; i < PATIENCE_S * 20 && !r.died; i++) {
		nap(50);
		r = report_of(&w, 0);
	}
	assert_true(r.died);
	assert_non_null(
		strstr(tf_work_why(w.pair.work[0]), "machine checks off"));
	assert_int_equal(pair_stats(&w.pair).vmces, 1);
	assert_false(report_of(&w, 1).died);
	pair_close(&w.pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_do_not_notice),
		cmocka_unit_test(kvm_guests_do_not_notice),
		cmocka_unit_test(an_only_copy_stops_a_deaf_guest),
	};

	if (!has_kvm() || !has_merging())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
