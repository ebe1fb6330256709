/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KVM guests against merging at full speed: their vCPUs write to pages that
 * are being fenced, merged, broken and merged again, and compare page after
 * page with what they wrote. Guests come and go in the middle of passes.
 *
 * ctest-timeout: 300
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/leak.h"
#include "lib/load_world.h"
#include "twinfold/vmm.h"

#define GUESTS 2
#define SECONDS 12.0
#define PATIENCE 60.0

struct vm {
	struct tf_guest *guest;
	struct tf_work *work;
};

static void vm_start(struct world *w, struct vm *vm, unsigned id)
{
	struct tf_guest_opts guest = { .size = sizeof(guest),
				       .trust_domain = "vcpus" };
	struct tf_work_opts work = { .size = sizeof(work),
				     .backend = TF_BACKEND_KVM,
				     .id = id,
				     .bytes = TF_WORK_MEM_MIN };

	CHECK(tf_guest_create(w->engine, &guest, &vm->guest) == 0);
	work.guest = vm->guest;
	CHECK(tf_work_create(&work, &vm->work) == 0);
	CHECK(tf_work_start(vm->work) == 0);
}

static void vm_end(struct vm *vm)
{
	tf_work_destroy(vm->work);
	tf_guest_destroy(vm->guest);
}

static struct tf_work_report report(struct vm *vm)
{
	struct tf_work_report r = { .size = sizeof(r) };

	CHECK(tf_work_report(vm->work, &r) == 0);
	if (r.died)
		test_fail("a guest died: %s", tf_work_why(vm->work));
	if (r.failures)
		test_fail("%llu failed checks, the first at gpa 0x%llx",
			  (unsigned long long)r.failures,
			  (unsigned long long)r.bad_gpa[0]);
	return r;
}

/* Until every guest has checked every page of the phase `rounds` times. */
static void go(struct vm *vm, enum tf_work_phase phase, uint64_t rounds)
{
	double end = test_now() + PATIENCE;

	for (unsigned i = 0; i < GUESTS; i++)
		CHECK(tf_work_command(vm[i].work, phase) == 0);
	for (unsigned i = 0; i < GUESTS;) {
		struct tf_work_report r = report(&vm[i]);

		if (r.phase == phase && r.ready && r.rounds[phase] >= rounds)
			i++;
		else if (test_now() > end)
			test_fail("phase %d: no end after %.0f s", (int)phase,
				  PATIENCE);
		else
			test_nap(0.01);
	}
}

/* One life of all guests; the checks they made. */
static uint64_t live(struct world *w, unsigned id, uint64_t *writes)
{
	struct vm vm[GUESTS];
	uint64_t checks = 0;

	for (unsigned i = 0; i < GUESTS; i++)
		vm_start(w, &vm[i], id + i);
	go(vm, TF_WORK_FILL, 0);
	go(vm, TF_WORK_RUN, 2);
	go(vm, TF_WORK_OVERWRITE, 1);
	for (unsigned i = 0; i < GUESTS; i++) {
		struct tf_work_report r;

		CHECK(tf_work_stop(vm[i].work) == 0);
		r = report(&vm[i]);
		checks += r.checks;
		*writes += r.writes;
		vm_end(&vm[i]);
	}
	return checks;
}

static void run(double seconds, uint64_t least)
{
	uint64_t checks = 0, writes = 0;
	struct tf_engine_opts opts;
	unsigned lives = 0;
	struct world w;
	double end;

	world_opts(&opts, 8);
	opts.smart_scan = 0;
	world_open(&w, 1, &opts, NULL);
	world_merge_start(&w);
	end = test_now() + seconds;
	do {
		checks += live(&w, 1 + lives++ * GUESTS, &writes);
	} while (test_now() < end);
	world_merge_stop(&w);
	printf("guests %u, page checks %llu, failed 0\n", lives * GUESTS,
	       (unsigned long long)checks);
	world_report(&w, "vCPUs", writes, least, least);
	world_close(&w);
}

int main(void)
{
	struct tf_vm *vm = NULL;
	struct leak before;
	int err;

	test_begin();
	err = tf_vm_create(NULL, &vm);
	if (err)
		test_skip("no KVM virtual machine here: %s", strerror(-err));
	tf_vm_destroy(vm);
	run(0, 0);
	leak_take(&before);
	run(SECONDS, 500);
	leak_check(&before);
	return 0;
}
