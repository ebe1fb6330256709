/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that may not read its own page tables (a chroot without /proc, a
 * new user) merges nothing, but its guests are told of what they lost.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/unit_ras.h"

#define PAGES 4u
#define LOST 2u

static int no_pagemap(const struct tf_os *os)
{
	(void)os;
	return -EACCES;
}

static void open_blind(struct unit_ras *w)
{
	ras_init(w, 16);
	w->u.os.pagemap_open = no_pagemap;
	w->eventfd = -1;
	unit_open(&w->u);
	assert_int_equal(unit_stats(&w->u).can_merge, 0);
	assert_int_equal(tf_ras_install(w->u.e, NULL), 0);
	w->g = unit_guest(&w->u, NULL);
	w->pages = PAGES;
	w->ram = unit_ram(&w->u, PAGES * TF_PAGE);
	unit_slot(w->g, 0, 0, w->ram, PAGES * TF_PAGE);
	unit_fill_run(w->ram, PAGES, 7);
}

/* A page that raises SIGBUS whenever it is touched. */
static void lose(const char *ram)
{
	const struct tf_os *os = &tf_os_linux;
	char *page = (char *)ram + LOST * TF_PAGE;
	int uffd = os->uffd_open(os, TF_UFFD_OURS);

	if (uffd < 0)
		unit_skip("this kernel cannot poison a page");
	assert_int_equal(
		os->uffd_register(os, uffd, page, TF_PAGE, TF_REG_MISSING), 0);
	assert_int_equal(os->advise(os, page, TF_PAGE, MADV_DONTNEED), 0);
	assert_int_equal(os->uffd_poison(os, uffd, page, TF_PAGE), 0);
	os->close(os, uffd);
}

static void a_lost_page_is_told(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	open_blind(&w);
	lose(w.ram);
	assert_int_equal(ras_handle(&w, ras_page(&w, LOST), RAS_REQUIRED, &v),
			 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_int_equal(v.gpa, LOST * TF_PAGE);
	assert_int_equal(tf_ras_take_vmce(w.u.e, gettid(), &vmce), 0);
	assert_int_equal(vmce.gpa, LOST * TF_PAGE);
	ras_touch(ras_page(&w, LOST)); /* for the second time */
	unit_assert_page(ras_page(&w, LOST), 0);
	unit_assert_page(ras_page(&w, LOST + 1), 7 + LOST + 1);
	unit_close(&w.u);
}

static void a_page_that_is_there_is_not(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	open_blind(&w);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_TRANSIENT);
	unit_assert_run(w.ram, PAGES, 7);
	unit_close(&w.u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lost_page_is_told),
		cmocka_unit_test(a_page_that_is_there_is_not),
	};

	return unit_run(tests);
}
