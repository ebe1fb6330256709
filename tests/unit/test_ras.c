/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Simulated memory errors, one at a time: what heals, what does not. */
#include "twinfold/ras.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/chain.h"
#include "lib/unit_world.h"

#define PAGES 32u
#define HALF (PAGES / 2)

/* Equal halves, and dups of two sharers: `max` says how many share one. */
static struct tf_guest *open_halves(struct unit *u, unsigned max, char **ram)
{
	struct tf_guest *g;

	unit_init(u);
	u->opts.smart_scan = 0;
	u->opts.max_page_sharing = max;
	unit_open(u);
	assert_int_equal(tf_ras_install(u->e, NULL), 0);
	g = unit_guest(u, NULL);
	*ram = unit_ram(u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, *ram, PAGES * TF_PAGE);
	return g;
}

/* One content on all pages, two dups or more. */
static struct tf_guest *open_chain(struct unit *u, char **ram)
{
	struct tf_guest *g = open_halves(u, HALF, ram);

	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(*ram + i * TF_PAGE, 7);
	unit_passes(u, 3);
	assert_true(unit_stats(u).chain_dups >= 1);
	return g;
}

static void shared_pages_heal_from_the_other_dup(void **state)
{
	struct tf_guest *g;
	struct tf_vmce vmce;
	struct tf_stats s;
	struct unit u;
	char *ram;

	(void)state;
	g = open_chain(&u, &ram);
	assert_int_equal(tf_ras_inject(u.e, g, 0, TF_INJECT_SIM), 0);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, 7);
	s = unit_stats(&u);
	assert_int_equal(s.heals, 1);
	assert_int_equal(s.heals_fresh_copy, 1);
	assert_int_equal(s.quarantined, 1);
	assert_int_equal(s.vmces, 0);
	assert_int_equal(tf_ras_take_vmce(u.e, 0, &vmce), -EAGAIN);
	unit_check(&u);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, 100 + i);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, 100 + i);
	unit_check(&u);
	unit_close(&u);
}

static void a_write_to_a_lost_page_is_kept(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_chain(&u, &ram);
	assert_int_equal(tf_ras_inject(u.e, g, 0, TF_INJECT_SIM), 0);
	ram[5] ^= 1;
	ram[5] ^= 1;
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, 7);
	unit_check(&u);
	unit_close(&u);
}

static void zero_pages_heal(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_halves(&u, 256, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i < 4 ? 0 : i);
	unit_passes(&u, 3);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_ZERO);
	assert_int_equal(tf_ras_inject(u.e, g, 0, TF_INJECT_SIM), 0);
	unit_assert_page(ram, 0);
	assert_int_equal(unit_stats(&u).heals_other, 1);
	assert_int_equal(unit_stats(&u).vmces, 0);
	unit_fill(ram, 3);
	unit_assert_page(ram, 3);
	unit_check(&u);
	unit_close(&u);
}

/* Written since it was merged with zeros: its bytes are nowhere else. */
static void a_written_zero_page_does_not(void **state)
{
	struct tf_ras_verdict v = { .size = sizeof(v) };
	siginfo_t info = { .si_code = 4 };
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_halves(&u, 256, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i < 4 ? 0 : i);
	unit_passes(&u, 3);
	ram[100] = 1;
	assert_int_equal(tf_ras_inject(u.e, g, 0, TF_INJECT_SIM), 0);
	info.si_addr = ram + 64;
	assert_int_equal(tf_ras_handle(u.e, &info, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	unit_close(&u);
}

static void unique_pages_become_one_vmce(void **state)
{
	struct tf_ras_verdict v = { .size = sizeof(v) };
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	siginfo_t info = { .si_code = 4 };
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_halves(&u, 256, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i + 1);
	unit_passes(&u, 2);
	assert_int_equal(tf_ras_inject(u.e, g, 3 * TF_PAGE + 8, TF_INJECT_SIM),
			 0);
	info.si_addr = ram + 3 * TF_PAGE + 8;
	assert_int_equal(tf_ras_handle(u.e, &info, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_ptr_equal(v.guest, g);
	assert_int_equal(v.gpa, 3 * TF_PAGE);
	assert_int_equal(tf_ras_handle(u.e, &info, &v), 0);
	assert_int_equal(tf_ras_take_vmce(u.e, gettid() + 1, &vmce), -EAGAIN);
	assert_int_equal(tf_ras_take_vmce(u.e, gettid(), &vmce), 0);
	assert_ptr_equal(vmce.guest, g);
	assert_int_equal(vmce.gpa, 3 * TF_PAGE);
	assert_int_equal(vmce.action_required, 1);
	assert_int_equal(vmce.tid, gettid());
	assert_int_equal(tf_ras_take_vmce(u.e, 0, &vmce), -EAGAIN);
	assert_int_equal(unit_stats(&u).vmces, 1);
	/* A thread that is no vCPU and comes again finds an empty page. */
	unit_assert_page(ram + 3 * TF_PAGE, 0);
	unit_assert_page(ram + 4 * TF_PAGE, 5);
	unit_check(&u);
	unit_close(&u);
}

/* No second copy: every sharer is told. */
static void singletons_are_lost(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_guest *g;
	unsigned told = 0;
	struct unit u;
	char *ram;

	(void)state;
	g = open_halves(&u, 256, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i < 5 ? 1 : 100 + i);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).pages_sharing, 4);
	assert_int_equal(tf_ras_inject(u.e, g, 0, TF_INJECT_SIM), 0);
	assert_int_equal(unit_stats(&u).vmces, 0);
	unit_assert_page(ram, 0); /* told, came again, got an empty page */
	while (!tf_ras_take_vmce(u.e, 0, &vmce)) {
		assert_true(vmce.gpa < 5 * TF_PAGE);
		told++;
	}
	assert_int_equal(told, 5);
	assert_int_equal(unit_stats(&u).vmces, 5);
	assert_int_equal(unit_stats(&u).heals, 0);
	unit_check(&u);
	assert_int_equal(tf_guest_discard(g, 0, 5 * TF_PAGE), 0);
	for (unsigned i = 0; i < 5; i++)
		unit_assert_page(ram + i * TF_PAGE, 0);
	unit_check(&u);
	unit_close(&u);
}

/* A content with enough sharers has a second copy before its dup is full. */
static void second_copies_are_kept(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.smart_scan = 0;
	u.opts.min_copies = 2;
	u.opts.copy_sharers = 4;
	unit_open(&u);
	assert_int_equal(tf_ras_install(u.e, NULL), 0);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i < 3 ? 1 : i < 20 ? 2 : 100 + i);
	unit_passes(&u, 3);
	assert_int_equal(unit_stats(&u).chains, 2);
	assert_int_equal(unit_stats(&u).chain_dups, 1); /* 3 are too few */
	assert_int_equal(unit_stats(&u).pages_recoverable, 17);
	assert_int_equal(tf_ras_inject(u.e, g, 5 * TF_PAGE, TF_INJECT_SIM), 0);
	for (unsigned i = 0; i < 20; i++)
		unit_assert_page(ram + i * TF_PAGE, i < 3 ? 1 : 2);
	tf_ras_uninstall(u.e); /* waits for the healer */
	assert_int_equal(unit_stats(&u).heals, 1);
	assert_int_equal(unit_stats(&u).vmces, 0);
	assert_int_equal(unit_stats(&u).chain_dups, 1);
	unit_check(&u);
	unit_close(&u);
}

/* The engine reads a lost page first: it rolls back, and the guest is told
 * once, though it never touched it. */
static void poison_that_the_engine_finds(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_halves(&u, 256, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i + 1);
	unit_pass(&u);
	assert_int_equal(tf_ras_inject(u.e, g, TF_PAGE, TF_INJECT_SIM), 0);
	unit_passes(&u, 3);
	for (int i = 0; i < 1000 && !unit_stats(&u).vmces; i++)
		usleep(1000);
	assert_int_equal(tf_ras_take_vmce(u.e, 0, &vmce), 0);
	assert_int_equal(vmce.gpa, TF_PAGE);
	assert_int_equal(vmce.action_required, 0);
	unit_assert_page(ram, 1);
	unit_check(&u);
	unit_close(&u);
}

static void the_engines_own_memory_is_not_recoverable(void **state)
{
	struct tf_ras_verdict v = { .size = sizeof(v) };
	siginfo_t info = { .si_code = 4 };
	struct unit u;
	char *ram;

	(void)state;
	open_chain(&u, &ram);
	info.si_addr = u.e;
	assert_int_equal(tf_ras_handle(u.e, &info, &v), -ENOTRECOVERABLE);
	info.si_addr = unit_spot(&u, ram).b;
	assert_int_equal(tf_ras_handle(u.e, &info, &v), -ENOTRECOVERABLE);
	assert_int_equal(unit_stats(&u).unrecoverable, 2);
	assert_int_equal(unit_stats(&u).can_merge, 0);
	info.si_addr = &u;
	assert_int_equal(tf_ras_handle(u.e, &info, &v), 0);
	assert_int_equal(v.cls, TF_RAS_NOT_OURS);
	unit_close(&u);
}

static void needs_to_be_installed(void **state)
{
	struct tf_ras_verdict v = { .size = sizeof(v) };
	siginfo_t info = { .si_code = 4 };
	struct tf_vmce vmce;
	struct unit u;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	assert_int_equal(tf_ras_handle(u.e, &info, &v), -ENODEV);
	assert_int_equal(tf_ras_take_vmce(u.e, 0, &vmce), -ENODEV);
	assert_int_equal(tf_ras_inject(u.e, NULL, 0, TF_INJECT_SIM), -ENODEV);
	assert_int_equal(tf_ras_install(u.e, NULL), 0);
	assert_int_equal(tf_ras_install(u.e, NULL), -EALREADY);
	tf_ras_uninstall(u.e);
	tf_ras_uninstall(u.e);
	tf_ras_uninstall(NULL);
	unit_close(&u);
}

static void bad_requests_are_refused(void **state)
{
	struct tf_ras_opts opts = { .size = 1 };
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_open(&u);
	assert_int_equal(tf_ras_install(u.e, &opts), -EINVAL);
	unit_close(&u);
	g = open_chain(&u, &ram);
	assert_int_equal(tf_ras_inject(u.e, g, 0, (enum tf_inject)9), -EINVAL);
	assert_int_equal(tf_ras_inject(u.e, g, PAGES * TF_PAGE, TF_INJECT_SIM),
			 -ENOENT);
	unit_close(&u);
}

static int no_poison(const struct tf_os *os, int uffd, void *addr, size_t len)
{
	(void)os;
	(void)uffd;
	(void)addr;
	(void)len;
	return -ENOMEM;
}

/* A fault that could not be made is none: the page is where it was. */
static void failed_faults_lose_nothing(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = open_halves(&u, 256, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i < 4 ? 1 : i);
	unit_passes(&u, 3);
	unit_wrap(&u, uffd_poison, no_poison);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(tf_ras_inject(u.e, g, i * TF_PAGE,
					       TF_INJECT_SIM),
				 -ENOMEM);
	unit_wrap(&u, uffd_poison, tf_os_linux.uffd_poison);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, i < 4 ? 1 : i);
	assert_int_equal(unit_stats(&u).heals + unit_stats(&u).vmces, 0);
	unit_check(&u);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(needs_to_be_installed),
		cmocka_unit_test(bad_requests_are_refused),
		cmocka_unit_test(failed_faults_lose_nothing),
		cmocka_unit_test(shared_pages_heal_from_the_other_dup),
		cmocka_unit_test(a_write_to_a_lost_page_is_kept),
		cmocka_unit_test(zero_pages_heal),
		cmocka_unit_test(a_written_zero_page_does_not),
		cmocka_unit_test(unique_pages_become_one_vmce),
		cmocka_unit_test(singletons_are_lost),
		cmocka_unit_test(second_copies_are_kept),
		cmocka_unit_test(poison_that_the_engine_finds),
		cmocka_unit_test(the_engines_own_memory_is_not_recoverable),
	};

	return unit_run(tests);
}
