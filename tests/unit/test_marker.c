/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Untouched merged pages: told from the kernel's copies, with and without the
 * right to see swap entries. */
#include "engine/marker.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/mapping.h"
#include "lib/unit_world.h"

#define PAGES 16u
#define FRAME_BITS ((UINT64_C(1) << 55) - 1)

/* What a process without CAP_SYS_ADMIN reads. */
static long unprivileged(const struct tf_os *os, int fd, const void *addr,
			 uint64_t *entries, size_t n)
{
	long got = tf_os_linux.pagemap_read(os, fd, addr, entries, n);

	for (long i = 0; i < got; i++)
		entries[i] &= ~FRAME_BITS;
	return got;
}

static uint64_t entry_of(const struct unit *u, const char *page)
{
	uint64_t entry = 0;

	assert_int_equal(tf_os_linux.pagemap_read(&u->os, u->e->pagemap, page,
						  &entry, 1),
			 1);
	return entry;
}

/* Equal halves, merged in one go by an engine over the given seam. */
static void merge_halves(struct unit *u, char **ram)
{
	struct tf_guest *g = unit_guest(u, NULL);

	*ram = unit_ram(u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, *ram, PAGES * TF_PAGE);
	unit_fill_run(*ram, PAGES / 2, 1);
	unit_fill_run(*ram + PAGES / 2 * TF_PAGE, PAGES / 2, 1);
	unit_passes(u, 3);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(unit_state(u, *ram + i * TF_PAGE),
				 TF_FRAME_SHARED);
}

static void untouched_pages_carry_the_marker(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	if (geteuid() != 0)
		unit_skip("swap entries are for root to see");
	unit_init(&u);
	unit_open(&u);
	assert_true(u.e->marker != 0);
	merge_halves(&u, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		assert_true(tf_marker_is(u.e, entry_of(&u, ram + i * TF_PAGE)));
	unit_assert_page(ram, 1); /* a touch */
	assert_false(tf_marker_is(u.e, entry_of(&u, ram)));
	assert_true(tf_marker_is(u.e, entry_of(&u, ram + TF_PAGE)));
	unit_close(&u);
}

static void without_the_right_pages_are_touched(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.os.pagemap_read = unprivileged;
	unit_open(&u);
	assert_true(u.e->marker == 0);
	merge_halves(&u, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		assert_true(entry_of(&u, ram + i * TF_PAGE) & TF_PM_PRESENT);
	unit_wrap(&u, pagemap_read, tf_os_linux.pagemap_read);
	unit_close(&u);
}

/* The kernel's copy of an untouched page, made before the resolver hears of
 * the write, has the slot's bytes: the break replaces it and loses nothing. */
static void writes_to_untouched_pages_break_them(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	u.opts.smart_scan = 0;
	unit_open(&u);
	merge_halves(&u, &ram);
	for (unsigned i = 0; i < PAGES; i += 2)
		unit_fill(ram + i * TF_PAGE, 100 + i);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i % 2 ? 1 + i % (PAGES / 2) : 100 + i);
	unit_check(&u);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_CANDIDATE);
	unit_close(&u);
}

static struct {
	char *page;
	int uffd;
	bool done;
} intruder;

/* A guest's write in the instant between mapping and protecting. */
static int write_then_register(const struct tf_os *os, int uffd, void *addr,
			       size_t len, int mode)
{
	char *page = intruder.page;

	if (uffd == intruder.uffd && page >= (char *)addr &&
	    page < (char *)addr + len && !intruder.done) {
		intruder.done = true;
		page[7]++;
	}
	return tf_os_linux.uffd_register(os, uffd, addr, len, mode);
}

static void the_kernels_copy_carries_none(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_empty(&u);
	ram = unit_ram(&u, PAGES * TF_PAGE);
	unit_slot(g, 0, 0, ram, PAGES * TF_PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, 1);
	intruder.page = ram + 3 * TF_PAGE;
	intruder.uffd = u.e->uffd_merged;
	intruder.done = false;
	unit_wrap(&u, uffd_register, write_then_register);
	unit_passes(&u, 3);
	assert_true(intruder.done);
	assert_int_equal(unit_state(&u, intruder.page), TF_FRAME_COW);
	assert_int_equal(unit_state(&u, ram), TF_FRAME_SHARED);
	intruder.page[7]--;
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, 1);
	unit_wrap(&u, uffd_register, tf_os_linux.uffd_register);
	unit_close(&u);
}

static int no_memfd(const struct tf_os *os, const char *name, uint64_t bytes)
{
	(void)os;
	(void)name;
	(void)bytes;
	return -EMFILE;
}

static int no_protect(const struct tf_os *os, int uffd, void *addr, size_t len,
		      bool on)
{
	(void)os;
	(void)uffd;
	(void)addr;
	(void)len;
	(void)on;
	return -EINVAL;
}

static void what_cannot_be_learned_is_no_error(void **state)
{
	struct unit u;

	(void)state;
	unit_init(&u);
	u.os.memfd = no_memfd;
	unit_open(&u);
	assert_true(u.e->marker == 0);
	unit_close(&u);
	unit_init(&u);
	u.os.uffd_protect = no_protect;
	unit_open(&u);
	assert_true(u.e->marker == 0);
	assert_false(tf_marker_is(u.e, 0));
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(untouched_pages_carry_the_marker),
		cmocka_unit_test(without_the_right_pages_are_touched),
		cmocka_unit_test(writes_to_untouched_pages_break_them),
		cmocka_unit_test(the_kernels_copy_carries_none),
		cmocka_unit_test(what_cannot_be_learned_is_no_error),
	};

	return unit_run(tests);
}
