/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pair that is to be, and faults on its way. */
#include "lib/unit_batch.h"

struct batch_fault batch_fault;

bool batch_fails(void)
{
	if (!batch_fault.left)
		return false;
	batch_fault.left--;
	return true;
}

struct tf_guest *batch_open(struct unit *u, char **ram)
{
	struct tf_guest *g;

	unit_init(u);
	u->opts.smart_scan = 0;
	unit_open(u);
	g = unit_guest(u, NULL);
	*ram = unit_ram(u, BATCH_PAGES * TF_PAGE);
	unit_slot(g, 0, 0, *ram, BATCH_PAGES * TF_PAGE);
	unit_fill(*ram, 1);
	unit_fill(*ram + TF_PAGE, 1);
	unit_pass(u);
	batch_fault.left = 0;
	return g;
}

void batch_arm(int err, unsigned times)
{
	batch_fault.err = err;
	batch_fault.left = times;
}

void batch_mend(struct unit *u)
{
	unit_wrap(u, equal, tf_os_linux.equal);
	unit_wrap(u, copy, tf_os_linux.copy);
	unit_wrap(u, write_at, tf_os_linux.write_at);
	unit_wrap(u, map, tf_os_linux.map);
	unit_wrap(u, uffd_move, tf_os_linux.uffd_move);
}

void batch_assert_undone(struct unit *u, char *ram)
{
	assert_int_equal(unit_stats(u).pages_shared, 0);
	assert_int_equal(unit_stats(u).pages_cow, 0);
	unit_assert_fresh(u, ram);
	unit_assert_fresh(u, ram + TF_PAGE);
	unit_assert_page(ram, 1);
	unit_assert_page(ram + TF_PAGE, 1);
	batch_fault.left = 0;
	batch_mend(u);
	unit_assert_waits_a_pass(u, ram);
	unit_assert_page(ram, 1);
	assert_int_equal(unit_state(u, ram + TF_PAGE), TF_FRAME_SHARED);
	unit_close(u);
}
