/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Healing when more goes wrong: second faults, no slot, sharers that cannot be
 * moved, pages in every state, and poison under each of the engine's reads.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/chain.h"
#include "engine/store.h"
#include "lib/unit_ras.h"

#define SEED 7

/* The kernel seam, with the next calls of a kind made to fail. */
static struct {
	char *victim;            /* page that MAP_FIXED refuses */
	atomic_uint map_fails;   /* so many times */
	atomic_uint write_errno; /* of every write to the store */
	atomic_bool lose_fresh;  /* what is written now reads as poison */
	uint64_t fresh_off;
	struct tf_engine *e;
	/* Before the `nth` map at RAM, let `other` have the lock. */
	atomic_uint nth;
	void *(*other)(void *);
	void *other_arg;
	pthread_t thread;
} seam;

static bool take_one(atomic_uint *n)
{
	unsigned have = atomic_load(n);

	while (have && !atomic_compare_exchange_weak(n, &have, have - 1))
		;
	return have;
}

/* The healer's next stop point waits until the other thread had the lock. */
static void call_other(void)
{
	if (atomic_load(&seam.nth) && take_one(&seam.nth) &&
	    !atomic_load(&seam.nth)) {
		atomic_fetch_add(&seam.e->urgent, 1);
		assert_int_equal(pthread_create(&seam.thread, NULL, seam.other,
						seam.other_arg),
				 0);
	}
}

static long map_refused(const struct tf_os *os, void *addr, size_t len,
			int prot, int flags, int fd, uint64_t off)
{
	if (addr && fd >= 0)
		call_other();
	if (addr && addr == seam.victim && take_one(&seam.map_fails))
		return -ENOMEM;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static long write_refused(const struct tf_os *os, int fd, const void *buf,
			  size_t len, uint64_t off)
{
	int err = (int)atomic_load(&seam.write_errno);

	seam.fresh_off = off;
	return err ? -err : tf_os_linux.write_at(os, fd, buf, len, off);
}

static int hash_poisoned(const struct tf_os *os, const void *page,
			 const uint8_t *secret, uint64_t *hash)
{
	const struct tf_store *s;

	if (atomic_load(&seam.lose_fresh))
		tf_list_for_each(s, &seam.e->stores, link)
			if ((const char *)page == s->map + seam.fresh_off)
				return -EHWPOISON;
	return tf_os_linux.hash(os, page, secret, hash);
}

static void seam_set(struct unit_ras *w)
{
	memset(&seam, 0, sizeof(seam));
	w->u.os.map = map_refused;
	w->u.os.write_at = write_refused;
	w->u.os.hash = hash_poisoned;
}

static void open_seam(struct unit_ras *w, unsigned max, unsigned pages)
{
	ras_init(w, max);
	seam_set(w);
	ras_open(w, pages);
	seam.e = w->u.e;
	ras_merge_all(w);
}

static void assert_told(struct unit_ras *w, unsigned from, unsigned n)
{
	uint8_t told[RAS_PAGES];

	assert_int_equal(ras_take(w, w->g, told), n);
	for (unsigned i = 0; i < RAS_PAGES; i++)
		assert_int_equal(told[i], i >= from && i < from + n);
}

static void no_vmce(struct unit_ras *w)
{
	assert_told(w, 0, 0);
	assert_int_equal(unit_stats(&w->u).vmces, 0);
}

/* Both copies are gone: every sharer is told, once. */
static void both_copies_lost(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;
	unsigned other;

	(void)state;
	ras_chain(&w, 16, 32);
	other = ras_page_beside(&w, ras_dup(&w, 0), 0);
	ras_lose(&w, 0);
	ras_lose(&w, other);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_told(&w, 0, 32);
	assert_int_equal(unit_stats(&w.u).quarantined, 2);
	assert_int_equal(unit_stats(&w.u).heals, 0);
	unit_check(&w.u);
	assert_int_equal(tf_guest_discard(w.g, 0, 32 * TF_PAGE), 0);
	for (unsigned i = 0; i < 32; i++)
		unit_assert_page(ras_page(&w, i), 0);
	ras_close(&w);
}

static void a_third_copy_heals_both(void **state)
{
	struct unit_ras w;
	struct tf_stats s;
	uint32_t first;
	unsigned other;

	(void)state;
	ras_chain(&w, 16, 48);
	first = ras_dup(&w, 0);
	other = ras_page_beside(&w, first, 0);
	ras_lose(&w, 0);
	ras_lose(&w, other);
	ras_assert_all(&w);
	no_vmce(&w);
	s = unit_stats(&w.u);
	assert_int_equal(s.heals, 2);
	assert_int_equal(s.heals_fresh_copy, 2);
	assert_int_equal(s.quarantined, 2);
	unit_check(&w.u);
	ras_close(&w);
}

struct second {
	struct unit_ras *w;
	unsigned page;
	bool fresh; /* of the copy that is being filled instead */
};

static void *lose_another(void *arg)
{
	struct second *s = arg;
	int err = tf_ras_inject(s->w->u.e, s->w->g, s->page * TF_PAGE,
				TF_INJECT_SIM);

	atomic_fetch_sub(&s->w->u.e->urgent, 1);
	return err ? s : NULL;
}

static void join_other(void)
{
	void *failed = &failed;

	pthread_join(seam.thread, &failed);
	assert_null(failed);
}

/* The donor goes at a stop point, with half of the sharers moved. */
static void the_donor_is_lost_while_healing(void **state)
{
	struct second second;
	struct unit_ras w;

	(void)state;
	open_seam(&w, 48, 96);
	second = (struct second){
		.w = &w, .page = ras_page_beside(&w, ras_dup(&w, 0), 0)
	};
	seam.other = lose_another;
	seam.other_arg = &second;
	ras_lose(&w, 0);
	atomic_store(&seam.nth, 8);
	unit_assert_page(w.ram, SEED);
	ras_settle(&w);
	join_other();
	ras_assert_all(&w);
	no_vmce(&w);
	assert_int_equal(unit_stats(&w.u).heals, 2);
	unit_check(&w.u);
	ras_close(&w);
}

static unsigned sharers_of(struct unit_ras *w, uint32_t dup)
{
	unsigned n;

	pthread_mutex_lock(&w->u.e->lock);
	n = tf_dup_get(w->u.e, dup)->nsharers;
	pthread_mutex_unlock(&w->u.e->lock);
	return n;
}

/* Write to sharers of `dup` until `keep` are left; downwards, so that none
 * is broken ahead. */
static void thin_out(struct unit_ras *w, uint32_t dup, unsigned keep)
{
	unsigned i = w->pages;

	while (sharers_of(w, dup) > keep && i--) {
		struct unit_spot s = unit_spot(&w->u, ras_page(w, i));

		if (s.was.state == TF_FRAME_SHARED && s.was.shared.dup == dup)
			unit_fill(ras_page(w, i), 100 + i);
	}
	assert_int_equal(sharers_of(w, dup), keep);
}

static unsigned page_of(struct unit_ras *w, uint32_t dup)
{
	for (unsigned i = 0; i < w->pages; i++) {
		struct unit_spot s = unit_spot(&w->u, ras_page(w, i));

		if (s.was.state == TF_FRAME_SHARED && s.was.shared.dup == dup)
			return i;
	}
	fail_msg("nobody shares it");
	return 0;
}

/* Two dups, the one of 16 sharers with room for eight more; `*lost` shares
 * the other. */
static void open_with_room(struct unit_ras *w, unsigned *lost)
{
	uint32_t full;

	open_seam(w, 16, 20);
	full = ras_dup(w, 0);
	if (sharers_of(w, full) < 16)
		full = ras_dup(w, ras_page_beside(w, full, 0));
	*lost = ras_page_beside(w, full, 0);
	thin_out(w, full, 8);
}

static void assert_kept(struct unit_ras *w)
{
	unsigned broken = 0;

	for (unsigned i = 0; i < w->pages; i++) {
		bool is = unit_state(&w->u, ras_page(w, i)) != TF_FRAME_SHARED;

		unit_assert_page(ras_page(w, i), is ? 100 + i : SEED);
		broken += is;
	}
	assert_int_equal(broken, 8);
}

/* `err`: of the write to the new slot. 0: it works, but its page is lost. */
static void heal_to_existing_dup(int err)
{
	struct unit_ras w;
	struct tf_stats s;
	unsigned lost;

	open_with_room(&w, &lost);
	ras_lose(&w, lost);
	atomic_store(&seam.write_errno, (unsigned)err);
	atomic_store(&seam.lose_fresh, !err);
	unit_assert_page(ras_page(&w, lost), SEED);
	ras_settle(&w);
	assert_kept(&w);
	atomic_store(&seam.write_errno, 0);
	atomic_store(&seam.lose_fresh, false);
	s = unit_stats(&w.u);
	no_vmce(&w);
	assert_int_equal(s.heals, 1);
	assert_int_equal(s.heals_fresh_copy, 0);
	assert_int_equal(s.heals_existing_dup, 1);
	assert_int_equal(s.quarantined, err ? 1 : 2);
	assert_int_equal(s.chain_dups, 0);
	unit_check(&w.u);
	ras_close(&w);
}

static void a_lost_fresh_copy_is_not_used(void **state)
{
	(void)state;
	heal_to_existing_dup(0);
}

static void no_slot_can_be_had(void **state)
{
	(void)state;
	heal_to_existing_dup(ENOSPC);
}

static void a_slot_that_cannot_be_written(void **state)
{
	(void)state;
	heal_to_existing_dup(EIO);
}

/* Two refusals: of the move, and of putting back what was there. */
static void a_sharer_that_moves_later(void **state)
{
	struct unit_ras w;
	struct tf_stats s;

	(void)state;
	open_seam(&w, 16, 32);
	seam.victim = ras_page(&w, 0);
	ras_lose(&w, 0);
	atomic_store(&seam.map_fails, 2);
	unit_assert_page(ras_page(&w, 0), SEED);
	ras_assert_all(&w);
	assert_int_equal(atomic_load(&seam.map_fails), 0);
	s = unit_stats(&w.u);
	no_vmce(&w);
	assert_int_equal(s.heals, 1);
	assert_int_equal(s.quarantined, 1);
	assert_int_equal(ras_events(&w, TF_RAS_PRIVATE), 0);
	unit_check(&w.u);
	ras_close(&w);
}

/* It is told, once; the others never hear of it. */
static void a_sharer_that_never_moves(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	open_seam(&w, 16, 32);
	assert_int_equal(ras_dup(&w, 0), ras_dup(&w, 1));
	seam.victim = ras_page(&w, 1);
	ras_lose(&w, 0);
	atomic_store(&seam.map_fails, 1000);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	ras_settle(&w);
	atomic_store(&seam.map_fails, 0);
	for (unsigned i = 0; i < 32; i++)
		if (i != 1)
			unit_assert_page(ras_page(&w, i), SEED);
	assert_told(&w, 1, 1);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	unit_check(&w.u);
	assert_int_equal(tf_guest_discard(w.g, TF_PAGE, TF_PAGE), 0);
	unit_assert_page(ras_page(&w, 1), 0);
	ras_close(&w);
}

static void healing_needs_no_budget(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 64);
	pthread_mutex_lock(&w.u.e->lock);
	w.u.e->vma_budget = 0;
	pthread_mutex_unlock(&w.u.e->lock);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	no_vmce(&w);
	assert_int_equal(unit_stats(&w.u).heals_fresh_copy, 1);
	unit_check(&w.u);
	ras_close(&w);
}

static const struct tf_store *store_of(struct unit_ras *w)
{
	return unit_spot(&w->u, w->ram).b->region->store;
}

/* No dup ever has the lost slot again, and it is never punched. */
static void a_lost_slot_is_never_used_again(void **state)
{
	struct unit_ras w;
	uint32_t slot;

	(void)state;
	ras_chain(&w, 16, 32);
	slot = ras_slot(&w, 0);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_int_equal(tf_slot_dup(store_of(&w), slot), 0);
	for (unsigned round = 0; round < 8; round++) {
		unit_fill_run(w.ram, 16, 1000 + 16 * round);
		unit_fill_run(ras_page(&w, 16), 16, 1000 + 16 * round);
		unit_passes(&w.u, 4);
		assert_int_equal(unit_guest_stats(w.g).pages_merged, 32);
		for (unsigned i = 0; i < 32; i++)
			assert_int_not_equal(ras_slot(&w, i), slot);
	}
	assert_int_equal(tf_guest_discard(w.g, 0, 32 * TF_PAGE), 0);
	unit_passes(&w.u, 2);
	assert_int_equal(store_of(&w)->windows[0].live, 1);
	assert_int_equal(unit_stats(&w.u).quarantined, 1);
	no_vmce(&w);
	ras_close(&w);
}

static void written_pages_keep_their_bytes(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	unit_fill(ras_page(&w, 3), 103);
	ras_page(&w, 5)[9] ^= 1;
	ras_lose(&w, 0);
	unit_assert_page(ras_page(&w, 3), 103);
	ras_page(&w, 5)[9] ^= 1;
	for (unsigned i = 0; i < 32; i++)
		unit_assert_page(ras_page(&w, i), i == 3 ? 103 : SEED);
	no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

static int protect_refused(const struct tf_os *os, int uffd, void *addr,
			   size_t len, bool on)
{
	if (on && seam.e && uffd == seam.e->uffd_merged &&
	    (char *)addr == seam.victim)
		return -ENOMEM;
	return tf_os_linux.uffd_protect(os, uffd, addr, len, on);
}

/* Page 0 is a COW frame; the last page is alone in its mapping. */
static void open_cow(struct unit_ras *w)
{
	ras_init(w, 16);
	seam_set(w);
	w->u.os.uffd_protect = protect_refused;
	ras_open(w, 34);
	seam.e = w->u.e;
	seam.victim = w->ram;
	for (unsigned i = 0; i < 34; i++)
		if (i != 1) /* its run is one page, one protection */
			unit_fill(ras_page(w, i), SEED);
		else
			unit_fill(ras_page(w, i), 99);
	unit_passes(&w->u, 4);
	assert_int_equal(unit_state(&w->u, w->ram), TF_FRAME_COW);
}

static unsigned page_of_same_dup(struct unit_ras *w)
{
	uint32_t dup = unit_spot(&w->u, w->ram).was.shared.dup;

	for (unsigned i = 2; i < w->pages; i++)
		if (ras_dup(w, i) == dup)
			return i;
	fail_msg("nobody shares it");
	return 0;
}

static void a_written_cow_frame_is_its_own(void **state)
{
	struct unit_ras w;

	(void)state;
	open_cow(&w);
	unit_fill(w.ram, 55);
	ras_lose(&w, page_of_same_dup(&w));
	unit_assert_page(w.ram, 55);
	for (unsigned i = 2; i < 34; i++)
		unit_assert_page(ras_page(&w, i), SEED);
	unit_assert_page(w.ram, 55);
	no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

static void what_can_be_recovered_is_counted(void **state)
{
	struct unit_ras w;
	uint32_t dup;

	(void)state;
	ras_chain(&w, 16, 32);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 32);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 32);
	assert_int_equal(unit_stats(&w.u).pages_shared, 2);
	assert_int_equal(unit_stats(&w.u).pages_sharing, 30);
	dup = ras_dup(&w, 0);
	thin_out(&w, dup, 1);
	unit_fill(ras_page(&w, page_of(&w, dup)), 300);
	assert_int_equal(unit_stats(&w.u).pages_recoverable, 0);
	ras_close(&w);
}

/* Two guests of one domain: unique pages, and a content that both share. */
static void the_right_guest_is_told(void **state)
{
	struct tf_ras_verdict v;
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_guest *a, *b;
	unsigned told[2][4] = { 0 };
	struct unit_ras w;
	char *ram[2];
	uint64_t n;

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 1);
	a = unit_guest(&w.u, "one");
	b = unit_guest(&w.u, "one");
	for (unsigned i = 0; i < 2; i++) {
		ram[i] = unit_ram(&w.u, 4 * TF_PAGE);
		unit_slot(i ? b : a, 0, (i + 1) * 64 * TF_PAGE, ram[i],
			  4 * TF_PAGE);
		unit_fill_run(ram[i], 4, 10 + 10 * i);
		unit_fill(ram[i] + TF_PAGE, SEED);
	}
	unit_passes(&w.u, 3);
	assert_int_equal(unit_stats(&w.u).pages_sharing, 1);
	assert_int_equal(read(w.eventfd, &n, 8), -1);
	assert_int_equal(tf_ras_inject(w.u.e, b, 130 * TF_PAGE, TF_INJECT_SIM),
			 0);
	assert_int_equal(ras_handle(&w, ram[1] + 2 * TF_PAGE, RAS_REQUIRED, &v),
			 0);
	assert_ptr_equal(v.guest, b);
	assert_int_equal(v.gpa, 130 * TF_PAGE);
	assert_int_equal(read(w.eventfd, &n, 8), 8);
	assert_int_equal(n, 1);
	assert_int_equal(tf_ras_inject(w.u.e, a, 65 * TF_PAGE, TF_INJECT_SIM),
			 0);
	assert_int_equal(ras_handle(&w, ram[0] + TF_PAGE, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_int_equal(read(w.eventfd, &n, 8), 8);
	assert_int_equal(n, 2);
	while (!tf_ras_take_vmce(w.u.e, 0, &vmce)) {
		unsigned i = vmce.guest == b;

		assert_true(i || vmce.guest == a);
		told[i][vmce.gpa / TF_PAGE - (i + 1) * 64]++;
	}
	for (unsigned i = 0; i < 2; i++)
		for (unsigned page = 0; page < 4; page++)
			assert_int_equal(told[i][page],
					 page == 1 || (i && page == 2));
	assert_int_equal(unit_stats(&w.u).vmces, 3);
	ras_close(&w);
}

static void a_destroyed_guest_is_told_nothing(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_ras_verdict v;
	struct tf_guest *a, *b;
	struct unit_ras w;
	char *ram[2];

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 1);
	a = unit_guest(&w.u, "one");
	b = unit_guest(&w.u, "one");
	for (unsigned i = 0; i < 2; i++) {
		ram[i] = unit_ram(&w.u, 4 * TF_PAGE);
		unit_slot(i ? b : a, 0, 0, ram[i], 4 * TF_PAGE);
		unit_fill(ram[i], SEED);
	}
	unit_passes(&w.u, 3);
	assert_int_equal(tf_ras_inject(w.u.e, b, 0, TF_INJECT_SIM), 0);
	assert_int_equal(ras_handle(&w, ram[0], RAS_REQUIRED, &v), 0);
	ras_settle(&w);
	tf_guest_destroy(b);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), 0);
	assert_ptr_equal(vmce.guest, a);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), -EAGAIN);
	unit_check(&w.u);
	ras_close(&w);
}

static void a_verdict_is_one_event(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 2);
	unit_assert_page(ras_page(&w, 2), 0); /* told, came again */
	assert_int_equal(ras_events(&w, TF_RAS_PRIVATE), 2);
	assert_ptr_equal(w.event[0].guest, w.g);
	assert_int_equal(w.event[0].gpa, 2 * TF_PAGE);
	assert_told(&w, 2, 1);
	ras_close(&w);
}

/* The old copy is lost for good, new pages of the content merge again. */
static void content_merges_again(void **state)
{
	struct unit_ras w;
	uint32_t slot;

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 16);
	unit_fill_run(w.ram, 16, 100);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 3);
	slot = ras_slot(&w, 0);
	ras_lose(&w, 0);
	unit_assert_page(w.ram, 0);
	assert_told(&w, 0, 4);
	for (unsigned i = 8; i < 12; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 4);
	for (unsigned i = 8; i < 12; i++) {
		assert_int_not_equal(ras_slot(&w, i), slot);
		unit_assert_page(ras_page(&w, i), SEED);
	}
	assert_int_equal(tf_guest_discard(w.g, 0, 4 * TF_PAGE), 0);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	assert_int_equal(unit_stats(&w.u).vmces, 4);
	ras_close(&w);
}

typedef int call_fn(struct tf_guest *g, uint64_t gpa, size_t bytes);

static void repeat_until_done(struct unit_ras *w, call_fn *call)
{
	int err = call(w->g, 0, w->pages * TF_PAGE);

	for (int i = 0; err && i < 3; i++) {
		assert_true(err == -ENOMEM || err == -EHWPOISON);
		unit_check(&w->u);
		ras_settle(w);
		err = call(w->g, 0, w->pages * TF_PAGE);
	}
	assert_int_equal(err, 0);
	ras_assert_all(w);
	no_vmce(w);
	unit_check(&w->u);
}

/* Nobody has touched the lost page when its range is to be private. */
static void unmerging_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	repeat_until_done(&w, tf_guest_unmerge);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 0);
	ras_close(&w);
}

static void pinning_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	repeat_until_done(&w, tf_guest_pin);
	assert_int_equal(tf_guest_unpin(w.g, 0, 32 * TF_PAGE), 0);
	ras_close(&w);
}

static void discarding_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	assert_int_equal(tf_guest_discard(w.g, 0, 32 * TF_PAGE), 0);
	for (unsigned i = 0; i < 32; i++)
		unit_assert_page(ras_page(&w, i), 0);
	unit_passes(&w.u, 2);
	no_vmce(&w);
	ras_close(&w);
}

/* A private page that was lost and discarded is like new. */
static void discarding_a_lost_private_page(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 3);
	assert_int_equal(tf_guest_discard(w.g, 3 * TF_PAGE, TF_PAGE), 0);
	unit_assert_page(ras_page(&w, 3), 0);
	for (unsigned i = 0; i < 8; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	no_vmce(&w);
	ras_close(&w);
}

/* Lost for good, then un-merged, pinned, un-registered: no vMCE again. */
static void pages_lost_for_good_in_ranges(void **state)
{
	struct unit_ras w;
	struct tf_ras_verdict v;

	(void)state;
	ras_init(&w, 256);
	ras_open(&w, 16);
	unit_fill_run(w.ram, 16, 100);
	for (unsigned i = 0; i < 4; i++)
		unit_fill(ras_page(&w, i), SEED);
	unit_passes(&w.u, 3);
	ras_lose(&w, 0);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_told(&w, 0, 4);
	tf_guest_unmerge(w.g, 0, 16 * TF_PAGE);
	unit_check(&w.u);
	if (!tf_guest_pin(w.g, 0, 16 * TF_PAGE))
		assert_int_equal(tf_guest_unpin(w.g, 0, 16 * TF_PAGE), 0);
	unit_passes(&w.u, 3);
	assert_told(&w, 0, 0);
	unit_assert_run(ras_page(&w, 4), 12, 104);
	assert_int_equal(tf_guest_del_memslot(w.g, 0), 0);
	unit_check(&w.u);
	unit_assert_run(ras_page(&w, 4), 12, 104);
	assert_int_equal(unit_stats(&w.u).vmces, 4);
	ras_close(&w);
}

static void destroying_a_guest_with_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	tf_guest_destroy(w.g);
	unit_check(&w.u);
	ras_close(&w);
}

/* Reads that end with poison, as often as `read_fails` says. */
static atomic_uint read_fails;
static const char *read_page;

static int equal_poisoned(const struct tf_os *os, const void *a, const void *b,
			  size_t len)
{
	return take_one(&read_fails) ? -EHWPOISON :
				       tf_os_linux.equal(os, a, b, len);
}

static int copy_poisoned(const struct tf_os *os, void *to, const void *from,
			 size_t len)
{
	return take_one(&read_fails) ? -EHWPOISON :
				       tf_os_linux.copy(os, to, from, len);
}

static long move_refused(const struct tf_os *os, int uffd, void *to, void *from,
			 size_t len)
{
	if (read_page && (char *)to <= read_page &&
	    (char *)to + len > read_page)
		return -EFAULT;
	return tf_os_linux.uffd_move(os, uffd, to, from, len);
}

static void open_halves(struct unit_ras *w, unsigned pages)
{
	atomic_store(&read_fails, 0);
	read_page = NULL;
	ras_init(w, 256);
	seam_set(w);
	w->u.os.equal = equal_poisoned;
	w->u.os.copy = copy_poisoned;
	w->u.os.uffd_move = move_refused;
	ras_open(w, pages);
	seam.e = w->u.e;
	unit_fill_run(w->ram, pages / 2, 1);
	unit_fill_run(ras_page(w, pages / 2), pages / 2, 1);
}

static void assert_halves(struct unit_ras *w)
{
	unit_assert_run(w->ram, w->pages / 2, 1);
	unit_assert_run(ras_page(w, w->pages / 2), w->pages / 2, 1);
}

/* The comparison in the fence meets poison: all is as before, and it is tried
 * again. */
static void poison_in_a_comparison(void **state)
{
	struct tf_pass p;
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	atomic_store(&read_fails, 1);
	p = unit_pass(&w.u);
	assert_int_equal(p.merged, 6);
	assert_int_equal(atomic_load(&read_fails), 0);
	assert_halves(&w);
	assert_int_equal(unit_stats(&w.u).quarantined, 0);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	assert_halves(&w);
	no_vmce(&w);
	ras_close(&w);
}

static void poison_in_the_write_of_a_slot(void **state)
{
	struct tf_pass p;
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	atomic_store(&seam.write_errno, EHWPOISON);
	p = unit_pass(&w.u);
	assert_int_equal(p.merged, 0);
	assert_int_equal(p.promoted, 0);
	assert_int_equal(unit_stats(&w.u).pages_shared, 0);
	assert_halves(&w);
	atomic_store(&seam.write_errno, 0);
	unit_passes(&w.u, 4);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	assert_halves(&w);
	no_vmce(&w);
	ras_close(&w);
}

/* The slot cannot be read for a while: the writer waits, and writes. */
static void poison_in_the_copy_of_a_break(void **state)
{
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_passes(&w.u, 3);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 8);
	atomic_store(&read_fails, 5);
	unit_fill(w.ram, 50);
	assert_int_equal(atomic_load(&read_fails), 0);
	unit_assert_page(w.ram, 50);
	unit_fill(w.ram, 1);
	assert_halves(&w);
	no_vmce(&w);
	unit_check(&w.u);
	ras_close(&w);
}

/* A staged page that neither goes home nor can be read: the guest's loss. */
static void poison_in_staging(void **state)
{
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	unit_wrap(&w.u, equal, tf_os_linux.equal);
	read_page = ras_page(&w, 2);
	atomic_store(&seam.write_errno, EIO); /* nothing merges */
	atomic_store(&read_fails, 1);
	unit_pass(&w.u);
	assert_int_equal(atomic_load(&read_fails), 0);
	atomic_store(&seam.write_errno, 0);
	read_page = NULL;
	ras_settle(&w);
	assert_told(&w, 2, 1);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	for (unsigned i = 0; i < 8; i++)
		if (i != 2)
			unit_assert_page(ras_page(&w, i), 1 + i % 4);
	unit_check(&w.u);
	assert_int_equal(tf_guest_discard(w.g, 2 * TF_PAGE, TF_PAGE), 0);
	unit_assert_page(ras_page(&w, 2), 0);
	unit_fill(ras_page(&w, 2), 3);
	unit_passes(&w.u, 4);
	assert_halves(&w);
	ras_close(&w);
}

/* A newcomer is compared with a slot that is lost, which nobody has touched:
 * that finds it, and it heals. */
static void poison_in_the_slot_of_a_comparison(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 40);
	unit_fill(ras_page(&w, 0), 99);
	unit_passes(&w.u, 4);
	for (unsigned i = 1; i < 40; i++)
		if (ras_dup(&w, i) ==
		    tf_chain_pick(store_of(&w),
				  tf_dup_get(w.u.e, ras_dup(&w, i))->hash)) {
			ras_lose(&w, i);
			break;
		}
	unit_fill(ras_page(&w, 0), SEED);
	unit_passes(&w.u, 4);
	ras_settle(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).quarantined, 1);
	unit_passes(&w.u, 4);
	ras_assert_all(&w);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 40);
	no_vmce(&w);
	ras_close(&w);
}

/* The settling pass hashes a lost page: it merges with nobody. */
static void poison_under_the_settling_hash(void **state)
{
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	ras_lose(&w, 1);
	unit_passes(&w.u, 2);
	assert_int_equal(unit_guest_stats(w.g).pages_merged, 6);
	assert_told(&w, 1, 1);
	unit_check(&w.u);
	unit_assert_page(w.ram, 1);
	ras_close(&w);
}

/* One of the pages to be gathered is lost. */
static void poison_in_gathering(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	for (unsigned i = 0; i < 16; i++)
		unit_fill(ras_page(&w, i), 100 + i);
	ras_lose(&w, 8);
	unit_passes(&w.u, 12);
	assert_told(&w, 8, 1);
	for (unsigned i = 0; i < 32; i++)
		if (i != 8)
			unit_assert_page(ras_page(&w, i),
					 i < 16 ? 100 + i : SEED);
	unit_check(&w.u);
	ras_close(&w);
}

/* Two refusals, of the move: what was there is put back. Nobody may see it. */
static long map_never(const struct tf_os *os, void *addr, size_t len, int prot,
		      int flags, int fd, uint64_t off)
{
	if (addr && addr == seam.victim && fd >= 0 && off != seam.fresh_off)
		return -ENOMEM;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static void lost_bytes_are_never_seen(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	open_seam(&w, 16, 32);
	ras_lose(&w, 0);
	seam.fresh_off = (uint64_t)ras_slot(&w, 0) * TF_PAGE;
	unit_wrap(&w.u, write_at, tf_os_linux.write_at);
	unit_wrap(&w.u, map, map_never);
	seam.victim = ras_page(&w, 1);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	ras_settle(&w);
	seam.victim = NULL;
	assert_told(&w, 1, 1);
	unit_assert_page(ras_page(&w, 1), 0); /* it traps, and is replaced */
	unit_check(&w.u);
	ras_close(&w);
}

/* Whoever was healed is told so, whatever becomes of the others. */
static void the_event_is_about_the_page_that_was_hit(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	open_seam(&w, 16, 32);
	ras_lose(&w, 0);
	seam.fresh_off = (uint64_t)ras_slot(&w, 0) * TF_PAGE;
	unit_wrap(&w.u, write_at, tf_os_linux.write_at);
	unit_wrap(&w.u, map, map_never);
	seam.victim = ras_page(&w, 1);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	assert_int_equal(ras_events(&w, TF_RAS_PRIVATE), 0);
	seam.victim = NULL;
	ras_close(&w);
}

/* The engine's own look at the slot announces it again: nothing is left to be
 * healed there. */
static void a_dup_without_sharers_is_not_healed(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	open_seam(&w, 16, 32);
	ras_lose(&w, 0);
	seam.victim = ras_page(&w, 1);
	atomic_store(&seam.map_fails, 1000);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	ras_settle(&w);
	atomic_store(&seam.map_fails, 0);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).heals_fresh_copy, 1);
	ras_close(&w);
}

static char *other_victim;

/* Page 0 moves late, another one never. */
static long map_two(const struct tf_os *os, void *addr, size_t len, int prot,
		    int flags, int fd, uint64_t off)
{
	if (addr && addr == other_victim && fd >= 0)
		return -ENOMEM;
	return map_refused(os, addr, len, prot, flags, fd, off);
}

static void a_late_mover_is_told_it_was_healed(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	open_seam(&w, 16, 32);
	ras_lose(&w, 0);
	seam.victim = ras_page(&w, 0);
	other_victim = ras_page(&w, 1);
	unit_wrap(&w.u, map, map_two);
	atomic_store(&seam.map_fails, 2);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	ras_settle(&w);
	other_victim = NULL;
	unit_assert_page(w.ram, SEED);
	assert_told(&w, 1, 1);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	ras_close(&w);
}

/* One touch, one heal, one event: not one more for the engine's own look. */
static void a_heal_is_one_event(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	unit_assert_page(w.ram, SEED);
	assert_int_equal(ras_events(&w, TF_RAS_SHARED), 1);
	assert_int_equal(w.nevents, 1);
	ras_close(&w);
}

static void an_event_says_how_long_it_took(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 2);
	unit_assert_page(ras_page(&w, 2), 0);
	assert_int_equal(ras_events(&w, TF_RAS_PRIVATE), 2);
	assert_true(w.event[0].ns);
	ras_close(&w);
}

/* The vMCE was taken, the guest leaves the page alone, the engine goes on
 * passing over it: it is told once. */
static void the_engine_finds_a_page_once(void **state)
{
	struct unit_ras w;

	(void)state;
	open_halves(&w, 8);
	unit_pass(&w.u);
	ras_lose(&w, 1);
	unit_pass(&w.u);
	assert_told(&w, 1, 1);
	unit_passes(&w.u, 4);
	assert_told(&w, 0, 0);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	ras_close(&w);
}

/* A vMCE for each of very many sharers. */
static void no_vmce_is_dropped(void **state)
{
	struct unit_ras w;
	const unsigned n = 1500;

	(void)state;
	ras_init(&w, 4096);
	ras_open(&w, n);
	ras_merge_all(&w);
	ras_lose(&w, 0);
	unit_assert_page(w.ram, 0);
	assert_told(&w, 0, n);
	ras_close(&w);
}

/* The engine has just found a lost page, and is destroyed. */
static void destroying_an_engine_with_lost_pages(void **state)
{
	struct unit_ras w;

	(void)state;
	for (int i = 0; i < 10; i++) {
		ras_chain(&w, 16, 32);
		ras_lose(&w, 0);
		ras_close(&w); /* its check reads every slot */
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_copies_lost),
		cmocka_unit_test(a_third_copy_heals_both),
		cmocka_unit_test(the_donor_is_lost_while_healing),
		cmocka_unit_test(a_lost_fresh_copy_is_not_used),
		cmocka_unit_test(no_slot_can_be_had),
		cmocka_unit_test(a_slot_that_cannot_be_written),
		cmocka_unit_test(a_sharer_that_moves_later),
		cmocka_unit_test(a_sharer_that_never_moves),
		cmocka_unit_test(healing_needs_no_budget),
		cmocka_unit_test(a_lost_slot_is_never_used_again),
		cmocka_unit_test(written_pages_keep_their_bytes),
		cmocka_unit_test(a_written_cow_frame_is_its_own),
		cmocka_unit_test(what_can_be_recovered_is_counted),
		cmocka_unit_test(the_right_guest_is_told),
		cmocka_unit_test(a_destroyed_guest_is_told_nothing),
		cmocka_unit_test(a_verdict_is_one_event),
		cmocka_unit_test(content_merges_again),
		cmocka_unit_test(unmerging_lost_pages),
		cmocka_unit_test(pinning_lost_pages),
		cmocka_unit_test(discarding_lost_pages),
		cmocka_unit_test(discarding_a_lost_private_page),
		cmocka_unit_test(pages_lost_for_good_in_ranges),
		cmocka_unit_test(destroying_a_guest_with_lost_pages),
		cmocka_unit_test(poison_in_a_comparison),
		cmocka_unit_test(poison_in_the_write_of_a_slot),
		cmocka_unit_test(poison_in_the_copy_of_a_break),
		cmocka_unit_test(poison_in_staging),
		cmocka_unit_test(poison_in_the_slot_of_a_comparison),
		cmocka_unit_test(poison_under_the_settling_hash),
		cmocka_unit_test(poison_in_gathering),
		cmocka_unit_test(lost_bytes_are_never_seen),
		cmocka_unit_test(the_event_is_about_the_page_that_was_hit),
		cmocka_unit_test(a_dup_without_sharers_is_not_healed),
		cmocka_unit_test(a_late_mover_is_told_it_was_healed),
		cmocka_unit_test(a_heal_is_one_event),
		cmocka_unit_test(an_event_says_how_long_it_took),
		cmocka_unit_test(the_engine_finds_a_page_once),
		cmocka_unit_test(no_vmce_is_dropped),
		cmocka_unit_test(destroying_an_engine_with_lost_pages),
	};

	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
