/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See mce_world.h. */
#include "lib/mce_world.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef BUS_MCEERR_AO
#define BUS_MCEERR_AO 5
#endif

void open_engine(struct world *w)
{
	struct tf_guest_opts guest = { .size = sizeof(guest) };
	struct tf_ras_opts ras = { .size = sizeof(ras) };

	memset(w, 0, sizeof(*w));
	w->eventfd = ras.vmce_eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(w->eventfd >= 0);
	assert_int_equal(tf_engine_create(NULL, &w->engine), 0);
	assert_int_equal(tf_ras_install(w->engine, &ras), 0);
	assert_int_equal(tf_guest_create(w->engine, &guest, &w->guest), 0);
}

void close_engine(struct world *w)
{
	tf_guest_destroy(w->guest);
	tf_engine_destroy(w->engine);
	close(w->eventfd);
}

void lose(struct world *w, uint64_t gpa)
{
	assert_int_equal(tf_ras_inject(w->engine, w->guest, gpa, TF_INJECT_SIM),
			 0);
}

void tell_of(struct world *w, struct tf_vm *vm, uint64_t gpa)
{
	siginfo_t info = { .si_signo = SIGBUS,
			   .si_code = BUS_MCEERR_AO,
			   .si_addr = tf_vm_hva(vm, gpa, 1) };
	struct tf_ras_verdict v = { .size = sizeof(v) };

	assert_int_equal(tf_ras_handle(w->engine, &info, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_int_equal(v.gpa, gpa);
}
