/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memslots and guests come and go, ranges are pinned, unpinned and discarded,
 * all by other threads, while passes run one after the other. Every guest's
 * thread knows every byte of its memory, before, during and after.
 *
 * ctest-timeout: 240
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"

#define GUESTS 3
#define PAGES 768 /* of one guest; not whole blocks */
#define LIVES 240ul

struct vm {
	struct worker worker;
	struct world *world;
	struct tf_guest *guest;
	struct load load;
	uint64_t lives, pins, renewed;
	uint64_t target;
};

/* Slot 1 ends in the middle of a block, slot 2 goes on at another gpa. */
#define FIRST 300u
#define GAP 4096u

static uint64_t gpa_of(size_t page)
{
	return (page < FIRST ? page : page + GAP) * (uint64_t)TF_PAGE_SIZE;
}

/*
 * A page that the kernel copied by itself stays in a mapping of the store when
 * its memslot is deleted, and such memory is refused. Its owner maps it anew.
 */
static void renew(struct vm *vm, size_t from, size_t to)
{
	size_t bytes = (to - from) * TF_PAGE_SIZE;
	char *at = load_page(&vm->load, from);

	CHECK(mmap(at, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
	madvise(at, bytes, MADV_NOHUGEPAGE);
	memcpy(at, vm->load.shadow + from * TF_PAGE_SIZE, bytes);
	vm->renewed++;
}

static int try_slot(struct vm *vm, uint32_t slot, size_t from, size_t to)
{
	return tf_guest_add_memslot(vm->guest, slot, gpa_of(from),
				    load_page(&vm->load, from),
				    (to - from) * TF_PAGE_SIZE);
}

static void add_slot(struct vm *vm, uint32_t slot)
{
	size_t from = slot == 1 ? 0 : FIRST, to = slot == 1 ? FIRST : PAGES;
	int err = try_slot(vm, slot, from, to);

	if (err == -EOPNOTSUPP) {
		renew(vm, from, to);
		err = try_slot(vm, slot, from, to);
	}
	CHECK(err == 0);
}

static void discard(struct vm *vm, size_t page)
{
	static const char zeros[TF_PAGE_SIZE];

	CHECK(tf_guest_discard(vm->guest, gpa_of(page), TF_PAGE_SIZE) == 0);
	load_expect(&vm->load, page, zeros);
}

/* While pinned the page is private, stays where it is, and is not given up. */
static void pin(struct vm *vm, size_t page, uint64_t *rng)
{
	CHECK(tf_guest_pin(vm->guest, gpa_of(page), TF_PAGE_SIZE) == 0);
	CHECK(tf_guest_discard(vm->guest, gpa_of(page), TF_PAGE_SIZE) ==
	      -EBUSY);
	load_visit(&vm->load, page, 4, rng);
	CHECK(tf_guest_unpin(vm->guest, gpa_of(page), TF_PAGE_SIZE) == 0);
	CHECK(tf_guest_unpin(vm->guest, gpa_of(page), TF_PAGE_SIZE) == -ENOENT);
	vm->pins++;
}

static void work(struct vm *vm, unsigned steps)
{
	uint64_t *rng = &vm->worker.rng;

	for (unsigned i = 0; i < steps; i++) {
		size_t page = test_random(rng) % PAGES;

		switch (test_random(rng) % 16) {
		case 0:
			discard(vm, page);
			break;
		case 1:
			pin(vm, page, rng);
			break;
		default:
			load_visit(&vm->load, page, 1, rng);
		}
		worker_step(&vm->worker);
	}
}

/* Nobody knows of the memory now: it is as the guest left it. */
static void verify_free(struct vm *vm)
{
	for (size_t i = 0; i < PAGES; i += 5)
		load_verify(&vm->load, i);
}

/* One life of a guest: slots come, one goes and comes again, all go. */
static void live(struct vm *vm)
{
	struct tf_guest_opts opts = { .size = sizeof(opts),
				      .name = "stress",
				      .trust_domain = "stress" };

	CHECK(tf_guest_create(vm->world->engine, &opts, &vm->guest) == 0);
	add_slot(vm, 1);
	add_slot(vm, 2);
	work(vm, 100);
	test_nap(0.005);
	work(vm, 20);
	CHECK(tf_guest_del_memslot(vm->guest, 2) == 0);
	CHECK(tf_guest_del_memslot(vm->guest, 2) == -ENOENT);
	verify_free(vm);
	add_slot(vm, 2);
	test_nap(0.005);
	work(vm, 50);
	if (test_random(&vm->worker.rng) % 2)
		CHECK(tf_guest_del_memslot(vm->guest, 1) == 0);
	tf_guest_destroy(vm->guest);
	verify_free(vm);
	vm->lives++;
}

static void live_loop(struct worker *me)
{
	struct vm *vm = me->arg;

	for (uint64_t i = 0; i < vm->target; i++)
		live(vm);
	load_verify_all(&vm->load);
}

/* A phase ends with no guest but the world's; the tables agree with that. */
static void phase(struct world *world, struct vm *vm, uint64_t lives)
{
	struct worker *watched[GUESTS + 1];
	struct tf_stats s;

	world_merge_start(world);
	for (unsigned i = 0; i < GUESTS; i++) {
		vm[i].target = lives;
		worker_start(&vm[i].worker, "a guest", live_loop, &vm[i]);
		watched[i] = &vm[i].worker;
	}
	watched[GUESTS] = &world->merger;
	worker_watch(watched, GUESTS + 1);
	worker_join_all(watched, GUESTS);
	world_merge_stop(world);
	world_check(world);
	world_passes(world, 1);
	world_stats(world, &s);
	CHECK(s.pages_shared == 0 && s.zero_pages == 0 && s.vmas == 0);
}

static void run(uint64_t lives, uint64_t least)
{
	struct vm vm[GUESTS] = { 0 };
	struct tf_engine_opts opts;
	struct world world;
	uint64_t writes = 0, all = 0, pins = 0, renewed = 0;

	world_opts(&opts, 16);
	opts.smart_scan = 0;
	world_open(&world, 1, &opts, NULL);
	for (unsigned i = 0; i < GUESTS; i++) {
		vm[i].world = &world;
		load_init(&vm[i].load, ram_map(PAGES), PAGES);
	}
	for (unsigned i = 0; i < 4; i++)
		phase(&world, vm, lives / 4);
	for (unsigned i = 0; i < GUESTS; i++) {
		writes += vm[i].load.writes;
		all += vm[i].lives;
		pins += vm[i].pins;
		renewed += vm[i].renewed;
		ram_unmap(vm[i].load.ram, PAGES);
		load_fini(&vm[i].load);
	}
	printf("guests came and went %llu times, pins %llu, RAM renewed %llu "
	       "times\n",
	       (unsigned long long)all, (unsigned long long)pins,
	       (unsigned long long)renewed);
	world_report(&world, "memslots", writes, least, least / 8);
	world_close(&world);
}

int main(void)
{
	struct leak before;

	test_begin();
	run(4, 0);
	leak_take(&before);
	run(test_scaled(LIVES), test_scaled(4000));
	leak_check(&before);
	return 0;
}
