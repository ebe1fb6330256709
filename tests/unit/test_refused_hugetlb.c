/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory of hugetlb pages is refused. Reserves one for its duration and puts
 * the setting back; skips where that may not be.
 *
 * ctest-lock: ksm
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "agent/knob.h"
#include "lib/unit_knobs.h"
#include "lib/unit_world.h"

#define RESERVED "/proc/sys/vm/nr_hugepages"

static int reserve_one(void)
{
	unsigned long long before, now = 0;
	char text[32];
	int err = knob_read_u64(RESERVED, &before);

	if (err)
		return err;
	snprintf(text, sizeof(text), "%llu", before + 1);
	err = knob_set(RESERVED, text);
	if (!err)
		err = knob_read_u64(RESERVED, &now);
	return err ? err : now > before ? 0 : -ENOMEM;
}

static void hugetlb_memory_is_refused(void **state)
{
	struct tf_guest *g;
	struct unit u;
	void *mem;

	(void)state;
	if (unit_knobs_taken() || reserve_one())
		unit_skip("no hugetlb page can be reserved");
	mem = mmap(NULL, TF_BLOCK_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	assert_ptr_not_equal(mem, MAP_FAILED);
	g = unit_empty(&u);
	assert_int_equal(tf_guest_add_memslot(g, 0, 0, mem, TF_BLOCK_BYTES),
			 -EOPNOTSUPP);
	assert_true(unit_log_has(&u, "use ordinary pages") ||
		    unit_log_has(&u, "file-backed"));
	unit_close(&u);
	assert_int_equal(munmap(mem, TF_BLOCK_BYTES), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hugetlb_memory_is_refused),
	};

	unit_warm_up();
	return cmocka_run_group_tests(tests, unit_knobs_take,
				      unit_knobs_give_back);
}
