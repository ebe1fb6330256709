/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The thread that was hit may have been inside the allocator: healing in its
 * handler takes no memory and gives none back, whatever fails on the way.
 *
 * ctest-link: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/chain.h"
#include "engine/store.h"
#include "lib/unit_ras.h"
#include "lib/unit_ras_seam.h"

#define SEED 7
#define MAX 16u
#define PAGES (3u * MAX)

static __thread bool counting;
static __thread unsigned calls;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

void *__wrap_malloc(size_t n)
{
	calls += counting;
	return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	calls += counting;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	calls += counting;
	return __real_realloc(p, n);
}

void __wrap_free(void *p)
{
	calls += counting;
	__real_free(p);
}

/* A lost page heals in this thread, which never comes to the allocator. */
static void heal(struct unit_ras *w, unsigned page)
{
	struct tf_ras_verdict v;
	int err;

	calls = 0;
	counting = true;
	err = ras_handle(w, ras_page(w, page), RAS_REQUIRED, &v);
	counting = false;
	assert_int_equal(err, 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	assert_int_equal(calls, 0);
	unit_assert_page(ras_page(w, page), SEED);
}

/* What was written to make room is as it was. */
static void end(struct unit_ras *w)
{
	ras_settle(w);
	for (unsigned i = 0; i < PAGES; i++)
		if (unit_state(&w->u, ras_page(w, i)) != TF_FRAME_SHARED)
			unit_fill(ras_page(w, i), SEED);
	ras_assert_all(w);
	ras_assert_no_vmce(w);
	assert_int_equal(w->u.e->n.kept, 0);
	unit_check(&w->u);
	ras_close(w);
}

/* Places for the sharers of page 0's dup in others, without a fresh copy. */
static void make_room(struct unit_ras *w)
{
	uint32_t lost = ras_dup(w, 0);
	uint32_t other = ras_dup(w, ras_page_beside(w, lost, 0));
	uint32_t third = ras_dup(w, ras_page_beside(w, lost, other));

	ras_thin_out(w, other, MAX / 2);
	ras_thin_out(w, third, MAX / 2);
}

static void a_fresh_copy_takes_none(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, MAX, PAGES);
	ras_lose(&w, 0);
	heal(&w, 0);
	assert_int_equal(unit_stats(&w.u).heals_fresh_copy, 1);
	end(&w);
}

/* Its slot goes back to the store. */
static void a_copy_that_cannot_be_written(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, MAX, PAGES);
	make_room(&w);
	ras_lose(&w, 0);
	atomic_store(&ras_seam.write_errno, ENOSPC);
	heal(&w, 0);
	assert_int_equal(unit_stats(&w.u).heals_existing_dup, 1);
	ras_settle(&w);
	atomic_store(&ras_seam.write_errno, 0);
	end(&w);
}

/* The store has no room to note that it came back. */
static void a_full_list_of_dead_slots(void **state)
{
	struct unit_ras w;
	struct tf_store *s;

	(void)state;
	ras_seam_open(&w, MAX, PAGES);
	make_room(&w);
	s = unit_spot(&w.u, w.ram).b->region->store;
	pthread_mutex_lock(&w.u.e->lock);
	tf_store_flush(s);
	s->cap_dead = s->ndead;
	pthread_mutex_unlock(&w.u.e->lock);
	ras_lose(&w, 0);
	atomic_store(&ras_seam.write_errno, ENOSPC);
	heal(&w, 0);
	ras_settle(&w);
	atomic_store(&ras_seam.write_errno, 0);
	end(&w);
}

/* The page whose dup comes before `dup` in its chain. */
static unsigned page_before(struct unit_ras *w, uint32_t dup)
{
	for (unsigned i = 0; i < PAGES; i++) {
		struct unit_spot s = unit_spot(&w->u, ras_page(w, i));

		if (s.was.state == TF_FRAME_SHARED && s.was.shared.dup != dup &&
		    tf_dup_get(w->u.e, s.was.shared.dup)->next == dup)
			return i;
	}
	fail_msg("nothing is before it");
	return 0;
}

/*
 * A dup that nobody uses any more, with a list of its own, and kept for others
 * that had no other copy a moment ago. Whoever retires it next frees it.
 */
static uint32_t keep_one(struct unit_ras *w)
{
	uint32_t kept = ras_dup(w, 0);

	pthread_mutex_lock(&w->u.e->lock);
	tf_dup_hold(w->u.e, kept);
	pthread_mutex_unlock(&w->u.e->lock);
	ras_thin_out(w, kept, 0);
	pthread_mutex_lock(&w->u.e->lock);
	atomic_store(&ras_seam.lose_all, true);
	tf_dup_let_go(w->u.e, kept);
	atomic_store(&ras_seam.lose_all, false);
	pthread_mutex_unlock(&w->u.e->lock);
	ras_settle(w);
	assert_int_equal(w->u.e->n.kept, 1);
	assert_true(tf_dup_get(w->u.e, kept)->cap > TF_DUP_FEW);
	return kept;
}

static void a_copy_that_is_lost_at_once(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_seam_open(&w, MAX, PAGES);
	keep_one(&w);
	ras_lose(&w, PAGES - 1);
	atomic_store(&ras_seam.lose_fresh, true);
	heal(&w, PAGES - 1);
	ras_settle(&w);
	atomic_store(&ras_seam.lose_fresh, false);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	end(&w);
}

static void a_donor_that_nobody_uses(void **state)
{
	struct unit_ras w;
	unsigned page;

	(void)state;
	ras_seam_open(&w, MAX, PAGES);
	page = page_before(&w, keep_one(&w));
	pthread_mutex_lock(&w.u.e->lock);
	free(w.u.e->list_at_hand);
	w.u.e->list_at_hand = NULL;
	pthread_mutex_unlock(&w.u.e->lock);
	ras_lose(&w, page);
	ras_seam.victim = ras_page(&w, page);
	atomic_store(&ras_seam.map_fails, 1);
	heal(&w, page);
	assert_int_equal(atomic_load(&ras_seam.map_fails), 0);
	end(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fresh_copy_takes_none),
		cmocka_unit_test(a_copy_that_cannot_be_written),
		cmocka_unit_test(a_full_list_of_dead_slots),
		cmocka_unit_test(a_copy_that_is_lost_at_once),
		cmocka_unit_test(a_donor_that_nobody_uses),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
