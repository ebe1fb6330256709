/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verdict that the SIGBUS handler comes to: by the strength of the error,
 * by whose memory it is in, and what may not be waited for.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/chain.h"
#include "engine/leftover.h"
#include "engine/store.h"
#include "lib/unit_ras.h"

/* An error that nobody has consumed, in a page that has a twin. */
static void optional_errors_heal(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 5);
	ras_send_error(ras_page(&w, 5), RAS_OPTIONAL);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).vmces, 0);
	ras_close(&w);
}

/* The stronger word wins, and there is one. */
static void an_optional_vmce_becomes_required(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 3);
	ras_send_error(ras_page(&w, 3) + 100, RAS_OPTIONAL);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	assert_int_equal(ras_handle(&w, ras_page(&w, 3), RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_int_equal(ras_handle(&w, ras_page(&w, 3), RAS_OPTIONAL, &v), 0);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), 0);
	assert_int_equal(vmce.action_required, 1);
	assert_int_equal(vmce.tid, gettid());
	assert_int_equal(vmce.gpa, 3 * TF_PAGE);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), -EAGAIN);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	ras_close(&w);
}

static void an_optional_vmce_is_nobodys(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 3);
	ras_send_error(ras_page(&w, 3), RAS_OPTIONAL);
	assert_int_equal(tf_ras_take_vmce(w.u.e, gettid() + 1, &vmce), 0);
	assert_int_equal(vmce.action_required, 0);
	assert_int_equal(vmce.tid, 0);
	ras_close(&w);
}

static void addresses_of_the_store(void **state)
{
	struct tf_ras_verdict v;
	const struct tf_store *s;
	struct unit_ras w;
	const char *slot;

	(void)state;
	ras_chain(&w, 16, 32);
	s = ras_store(&w);
	slot = tf_slot_bytes(s, ras_slot(&w, 0));
	assert_int_equal(ras_handle(&w, slot, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_TRANSIENT);
	assert_int_equal(ras_handle(&w, s->map + (1 << 26), RAS_REQUIRED, &v),
			 0);
	assert_int_equal(v.cls, TF_RAS_TRANSIENT);
	ras_lose(&w, 0);
	assert_int_equal(ras_handle(&w, slot, RAS_OPTIONAL, &v), 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	assert_int_equal(v.source, TF_RAS_FROM_FRESH_COPY);
	assert_int_equal(ras_handle(&w, slot, RAS_OPTIONAL, &v), 0);
	assert_int_equal(v.cls, TF_RAS_TRANSIENT);
	ras_assert_all(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).unrecoverable, 0);
	ras_close(&w);
}

static void assert_lost_for_good(struct unit_ras *w, const void *addr)
{
	uint64_t begin = w->u.os.now_ns(&w->u.os);
	uint64_t before = unit_stats(&w->u).unrecoverable;
	struct tf_ras_verdict v;

	/* At once: the lock is not waited for. */
	pthread_mutex_lock(&w->u.e->lock);
	assert_int_equal(ras_handle(w, addr, RAS_REQUIRED, &v),
			 -ENOTRECOVERABLE);
	pthread_mutex_unlock(&w->u.e->lock);
	assert_true(w->u.os.now_ns(&w->u.os) - begin < 50000000);
	assert_int_equal(unit_stats(&w->u).unrecoverable, before + 1);
	assert_int_equal(unit_stats(&w->u).transient_failed, 0);
}

static void memory_of_the_engine_is_lost_at_once(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	assert_lost_for_good(&w, w.u.e);
	assert_lost_for_good(&w, unit_spot(&w.u, w.ram).f);
	assert_lost_for_good(&w, tf_dup_get(w.u.e, ras_dup(&w, 0)));
	assert_lost_for_good(&w, w.u.e->zero_page + 8);
	assert_int_equal(unit_stats(&w.u).can_merge, 0);
	ras_close(&w);
}

static void staging_is_the_engines(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	assert_lost_for_good(&w, w.u.e->staging);
	ras_close(&w);
}

/* The index and what the stores keep, whoever holds the lock. */
static void memory_of_the_index_is_lost_at_once(void **state)
{
	const struct tf_store *s;
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	s = ras_store(&w);
	assert_lost_for_good(&w, s);
	assert_lost_for_good(&w, s->windows[0].dup_of);
	assert_lost_for_good(&w, s->stable.head + s->stable.mask);
	assert_lost_for_good(&w, tf_dup_get(w.u.e, ras_dup(&w, 0))->list);
	assert_lost_for_good(&w, w.u.e->list_at_hand);
	pthread_mutex_lock(&w.u.e->lock);
	w.g->left = calloc(1, sizeof(*w.g->left));
	w.g->cap_left = 1;
	pthread_mutex_unlock(&w.u.e->lock);
	assert_lost_for_good(&w, &w.g->left->dup);
	assert_int_equal(ras_handle(&w, s->stable.head, RAS_REQUIRED, &v),
			 -ENOTRECOVERABLE);
	assert_int_equal(ras_handle(&w, s->stable.head, RAS_OPTIONAL, &v),
			 -ENOTRECOVERABLE);
	assert_int_equal(unit_stats(&w.u).unrecoverable, 8);
	assert_int_equal(unit_stats(&w.u).can_merge, 0);
	ras_settle(&w);
	assert_int_equal(ras_events(&w, TF_RAS_ENGINE_OWNED), 8);
	ras_close(&w);
}

/* Nobody can answer whoever holds the lock itself. */
static void a_lock_of_ones_own(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;
	uint64_t begin;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	begin = w.u.os.now_ns(&w.u.os);
	pthread_mutex_lock(&w.u.e->lock);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), -EIO);
	assert_int_equal(ras_handle(&w, w.ram, RAS_OPTIONAL, &v), -EIO);
	pthread_mutex_unlock(&w.u.e->lock);
	assert_true(w.u.os.now_ns(&w.u.os) - begin < UINT64_C(50000000));
	assert_int_equal(unit_stats(&w.u).unrecoverable, 0);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	ras_close(&w);
}

static void *ask_required(void *arg)
{
	struct unit_ras *w = arg;
	struct tf_ras_verdict v;

	return (void *)(long)ras_handle(w, w->ram, RAS_REQUIRED, &v);
}

static void *ask_optional(void *arg)
{
	struct unit_ras *w = arg;
	struct tf_ras_verdict v;

	return (void *)(long)ras_handle(w, w->ram, RAS_OPTIONAL, &v);
}

static void assert_no_answer(struct unit_ras *w, void *(*ask)(void *),
			     uint64_t within_ns)
{
	uint64_t begin = w->u.os.now_ns(&w->u.os);
	pthread_t thread;
	void *err;

	assert_int_equal(pthread_create(&thread, NULL, ask, w), 0);
	pthread_join(thread, &err);
	assert_int_equal((long)err, -EIO);
	assert_true(w->u.os.now_ns(&w->u.os) - begin < within_ns);
}

/* The healer gives up on a lock that is held for very long; later it heals. */
static void a_lock_that_is_held(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	pthread_mutex_lock(&w.u.e->lock);
	assert_no_answer(&w, ask_required, UINT64_C(5000000000));
	assert_no_answer(&w, ask_optional, UINT64_C(500000000));
	pthread_mutex_unlock(&w.u.e->lock);
	assert_true(unit_stats(&w.u).transient_failed >= 1);
	assert_int_equal(unit_stats(&w.u).unrecoverable, 0);
	ras_assert_all(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	ras_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(optional_errors_heal),
		cmocka_unit_test(an_optional_vmce_becomes_required),
		cmocka_unit_test(an_optional_vmce_is_nobodys),
		cmocka_unit_test(addresses_of_the_store),
		cmocka_unit_test(memory_of_the_engine_is_lost_at_once),
		cmocka_unit_test(staging_is_the_engines),
		cmocka_unit_test(memory_of_the_index_is_lost_at_once),
		cmocka_unit_test(a_lock_of_ones_own),
		cmocka_unit_test(a_lock_that_is_held),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
