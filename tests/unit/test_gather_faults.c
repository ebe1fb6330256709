/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathering where calls fail: every call of it in turn, and an engine that
 * cannot gather at all. No byte or write is lost, and later passes finish
 * what failed.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/unit_gather.h"

/* Calls that are made to fail, number `at` of a kind and `more` after it. */
enum kind {
	MAP,
	REGISTER,
	UNREGISTER,
	REMAP,      /* nothing has happened */
	REMAP_GONE, /* the place has lost its mapping */
	MOVE,
	MOVE_SHORT, /* half of the pages */
	MOVE_DONE,  /* all was done, an error is reported */
	ADVISE,
};

static struct {
	bool armed;
	enum kind kind;
	unsigned at, more;
	_Atomic unsigned calls;
	_Atomic unsigned failed;
} plan;

static bool fails(enum kind kind)
{
	unsigned nth;

	if (!plan.armed || plan.kind != kind)
		return false;
	nth = plan.calls++;
	if (nth < plan.at || nth - plan.at > plan.more)
		return false;
	plan.failed++;
	return true;
}

static long plan_map(const struct tf_os *os, void *addr, size_t len, int prot,
		     int flags, int fd, uint64_t off)
{
	if (fails(MAP))
		return -ENOMEM;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static int plan_remap(const struct tf_os *os, void *from, size_t len, void *to)
{
	if (fails(REMAP))
		return -ENOMEM;
	if (fails(REMAP_GONE)) {
		munmap(to, len);
		return -ENOMEM;
	}
	return tf_os_linux.remap_over(os, from, len, to);
}

static int plan_register(const struct tf_os *os, int uffd, void *addr,
			 size_t len, int mode)
{
	if (fails(REGISTER))
		return -ENOMEM;
	return tf_os_linux.uffd_register(os, uffd, addr, len, mode);
}

static int plan_unregister(const struct tf_os *os, int uffd, void *addr,
			   size_t len)
{
	if (fails(UNREGISTER))
		return -ENOMEM;
	return tf_os_linux.uffd_unregister(os, uffd, addr, len);
}

static long plan_move(const struct tf_os *os, int uffd, void *to, void *from,
		      size_t len)
{
	if (fails(MOVE))
		return -ENOMEM;
	if (len > TF_PAGE && fails(MOVE_SHORT))
		len = len / TF_PAGE / 2 * TF_PAGE;
	if (fails(MOVE_DONE)) {
		long moved = tf_os_linux.uffd_move(os, uffd, to, from, len);

		if (moved <= 0)
			return moved;
		return moved == (long)TF_PAGE ? -EEXIST : moved - (long)TF_PAGE;
	}
	return tf_os_linux.uffd_move(os, uffd, to, from, len);
}

static int plan_advise(const struct tf_os *os, void *addr, size_t len,
		       int advice)
{
	if (fails(ADVISE))
		return -ENOMEM;
	return tf_os_linux.advise(os, addr, len, advice);
}

static void plan_into(struct tf_os *os)
{
	os->map = plan_map;
	os->remap_over = plan_remap;
	os->uffd_register = plan_register;
	os->uffd_unregister = plan_unregister;
	os->uffd_move = plan_move;
	os->advise = plan_advise;
}

/* Page i of the mixed world: merged, zeros, or written. */
static uint64_t mixed(unsigned i)
{
	if (i == 10 || i == 11 || i == 25)
		return 1 + i % GATHER_HALF;
	return i % 7 == 3 ? 0 : GATHER_FRESH(i);
}

static struct tf_guest *open_mixed(struct unit *u, char **ram)
{
	struct tf_guest *g;

	unit_init(u);
	plan.armed = false;
	plan_into(&u->os);
	u->opts.smart_scan = 0;
	unit_open(u);
	g = unit_guest(u, NULL);
	*ram = unit_ram(u, GATHER_BYTES);
	unit_slot(g, 0, 0, *ram, GATHER_BYTES);
	gather_fill_halves(*ram);
	unit_passes(u, 2);
	assert_int_equal(unit_guest_stats(g).pages_merged, GATHER_PAGES);
	/* Downwards: nothing is broken ahead. */
	for (unsigned i = GATHER_PAGES; i-- > 0;)
		if (mixed(i) != 1 + i % GATHER_HALF)
			unit_fill(*ram + i * TF_PAGE, mixed(i));
	assert_int_equal(unit_guest_stats(g).pages_merged, 3);
	unit_passes(u, 3);
	assert_int_equal(unit_stats(u).pages_gathered, 0);
	return g;
}

static void assert_mixed(const char *ram)
{
	for (unsigned i = 0; i < GATHER_PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, mixed(i));
}

/* What is discarded behind the engine's back reads as zeros, wherever it was
 * left. */
static void assert_discards(char *ram)
{
	for (unsigned i = 1; i < GATHER_PAGES; i += 6) {
		char *page = ram + i * TF_PAGE;

		assert_int_equal(madvise(page, TF_PAGE, MADV_DONTNEED), 0);
		unit_assert_page(page,
				 mixed(i) == GATHER_FRESH(i) ? 0 : mixed(i));
		unit_fill(page, mixed(i));
	}
	assert_mixed(ram);
}

/* Gather with one fault. False: there is no such call. */
static bool gather_with_fault(enum kind kind, unsigned at, unsigned more)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	g = open_mixed(&u, &ram);
	plan.kind = kind;
	plan.at = at;
	plan.more = more;
	plan.calls = 0;
	plan.failed = 0;
	plan.armed = true;
	gather_now(&u, ram);
	plan.armed = false;
	assert_mixed(ram);
	unit_check(&u);
	unit_passes(&u, GATHER_LONG);
	assert_mixed(ram);
	assert_discards(ram);
	gather_assert_alive(&u, g, ram);
	unit_close(&u);
	return plan.failed;
}

/* Each call of a kind in turn, alone and together with all that follow. */
static void try_faults(enum kind kind, unsigned least)
{
	unsigned at = 0;

	while (gather_with_fault(kind, at, 0)) {
		gather_with_fault(kind, at, 2);
		at++;
	}
	gather_with_fault(kind, 0, ~0u);
	assert_true(at >= least);
}

#define FAULT_TEST(name, kind, least)                                          \
	static void name(void **state)                                         \
	{                                                                      \
		(void)state;                                                   \
		try_faults(kind, least);                                       \
	}

FAULT_TEST(no_fresh_mapping, MAP, 3)
FAULT_TEST(no_registration, REGISTER, 6)
FAULT_TEST(no_unregistration, UNREGISTER, 3)
FAULT_TEST(no_remap, REMAP, 3)
FAULT_TEST(remap_loses_the_place, REMAP_GONE, 3)
FAULT_TEST(no_move, MOVE, 6)
FAULT_TEST(moves_stop_early, MOVE_SHORT, 3)
FAULT_TEST(moves_are_not_counted, MOVE_DONE, 6)
FAULT_TEST(no_advice, ADVISE, 1)

static enum tf_uffd_kind failing_kind;
static int failing_err;

static int open_fails(const struct tf_os *os, enum tf_uffd_kind kind)
{
	if (kind == failing_kind)
		return failing_err;
	return tf_os_linux.uffd_open(os, kind);
}

/* A kernel without the context gathers nothing, and does all else. */
static void without_the_context_nothing_is_gathered(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	failing_kind = TF_UFFD_GATHER;
	failing_err = -EOPNOTSUPP;
	unit_init(&u);
	u.os.uffd_open = open_fails;
	u.opts.smart_scan = 0;
	unit_open(&u);
	assert_true(unit_stats(&u).can_merge);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, GATHER_BYTES);
	unit_slot(g, 0, 0, ram, GATHER_BYTES);
	for (unsigned round = 0; round < 2; round++) {
		gather_fill_halves(ram);
		unit_passes(&u, 2);
		assert_int_equal(unit_guest_stats(g).pages_merged,
				 GATHER_PAGES);
		gather_write_all(ram, GATHER_PAGES);
		unit_passes(&u, GATHER_LONG);
		unit_assert_run(ram, GATHER_PAGES, GATHER_FRESH(0));
	}
	assert_int_equal(tf_guest_unmerge(g, 0, GATHER_BYTES), 0);
	assert_int_equal(unit_stats(&u).pages_gathered, 0);
	unit_close(&u);
}

static unsigned eventfds_left;

static int eventfd_fails(const struct tf_os *os)
{
	return eventfds_left-- ? tf_os_linux.eventfd(os) : -EMFILE;
}

/* Short of descriptors, no engine, and nothing is left of it. */
static void without_descriptors_there_is_no_engine(void **state)
{
	static const int errs[] = { -EMFILE, -ENFILE, -ENOMEM };
	struct unit u;
	unsigned n;

	(void)state;
	failing_kind = TF_UFFD_GATHER;
	for (size_t i = 0; i < sizeof(errs) / sizeof(*errs); i++) {
		failing_err = errs[i];
		unit_init(&u);
		u.os.uffd_open = open_fails;
		assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e),
				 errs[i]);
		unit_close(&u);
	}
	for (n = 0;; n++) {
		int err;

		eventfds_left = n;
		unit_init(&u);
		u.os.eventfd = eventfd_fails;
		err = tf_engine_create_os(&u.opts, &u.os, &u.e);
		unit_close(&u);
		if (!err)
			break;
		assert_int_equal(err, -EMFILE);
	}
	assert_true(n >= 3);
}

/* As mlockall() does, to whatever is mapped. */
static struct {
	char *ram;
	unsigned touched, laid;
} locked;

static bool in_ram(const void *addr)
{
	return (char *)addr >= locked.ram &&
	       (char *)addr < locked.ram + GATHER_BYTES;
}

static int touch_and_register(const struct tf_os *os, int uffd, void *addr,
			      size_t len, int mode)
{
	if (mode & TF_REG_MISSING && !in_ram(addr)) {
		memset(addr, 0, len);
		locked.touched++;
	}
	return tf_os_linux.uffd_register(os, uffd, addr, len, mode);
}

static int note_laid(const struct tf_os *os, void *from, size_t len, void *to)
{
	locked.laid += in_ram(to);
	return tf_os_linux.remap_over(os, from, len, to);
}

/* It would show zeros where the run is. */
static void what_was_touched_on_the_way_is_not_laid(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, GATHER_PAGES, &ram);
	gather_write_all(ram, GATHER_PAGES);
	unit_passes(&u, 2);
	locked.ram = ram;
	locked.touched = locked.laid = 0;
	unit_wrap(&u, uffd_register, touch_and_register);
	unit_wrap(&u, remap_over, note_laid);
	unit_passes(&u, GATHER_LONG);
	assert_true(locked.touched > 0);
	assert_int_equal(locked.laid, 0);
	assert_int_equal(unit_stats(&u).pages_gathered, 0);
	unit_assert_run(ram, GATHER_PAGES, GATHER_FRESH(0));
	unit_wrap(&u, uffd_register, tf_os_linux.uffd_register);
	gather_await(&u, GATHER_PAGES);
	gather_assert_one_mapping(&u, ram, GATHER_PAGES);
	unit_assert_run(ram, GATHER_PAGES, GATHER_FRESH(0));
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_fresh_mapping),
		cmocka_unit_test(no_registration),
		cmocka_unit_test(no_unregistration),
		cmocka_unit_test(no_remap),
		cmocka_unit_test(remap_loses_the_place),
		cmocka_unit_test(no_move),
		cmocka_unit_test(moves_stop_early),
		cmocka_unit_test(moves_are_not_counted),
		cmocka_unit_test(no_advice),
		cmocka_unit_test(without_the_context_nothing_is_gathered),
		cmocka_unit_test(what_was_touched_on_the_way_is_not_laid),
		cmocka_unit_test(without_descriptors_there_is_no_engine),
	};

	return unit_run(tests);
}
