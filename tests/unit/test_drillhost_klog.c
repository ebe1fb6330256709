/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* agent/drillhost/klog.c: lines as kernels of a drill host wrote them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/drillhost/klog.h"

static void faults_of_the_kernel(void **state)
{
	static const char *const lines[] = {
		"WARNING: CPU: 1 PID: 40 at mm/ksm.c:2310 f+0x1/0x2",
		"[   16.9] BUG: unable to handle page fault for address: 0",
		"BUG: Bad page state in process ksmd",
		"kernel BUG at mm/rmap.c:1!",
		"Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI",
		"Kernel panic - not syncing: Fatal machine check",
		"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
		"INFO: task kworker/0:1:9 blocked for more than 120 seconds.",
		"watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
		"refcount_t: underflow; use-after-free.",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!klog_is_warning(lines[i]))
			fail_msg("not seen: %s", lines[i]);
}

static void what_belongs_to_a_drill(void **state)
{
	static const char *const lines[] = {
		"",
		"Disabling lock debugging due to kernel taint",
		"mce: [Hardware Error]: CPU 0: Machine Check Exception: 7 "
		"Bank 9: bd80000000000134",
		"mce: Uncorrected hardware memory error in user-access at "
		"349c000",
		"Memory failure: 0x349c: Sending SIGBUS to twinfold:142 due to "
		"hardware memory corruption",
		"Memory failure: 0x349c: recovery action for dirty LRU page: "
		"Recovered",
		"MCE: Killing twinfold:149 due to hardware memory corruption "
		"fault at 7be5faaf8000",
		"RETBleed: WARNING: Spectre v2 mitigation leaves CPU "
		"vulnerable to RETBleed attacks, data leaks possible!",
		"Speculative Return Stack Overflow: WARNING: See https://...",
		"qemu-system-x86_64: warning: TCG doesn't support requested "
		"feature",
		"hrtimer: interrupt took 15675969 ns",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (klog_is_warning(lines[i]))
			fail_msg("taken for a fault: %s", lines[i]);
}

static void counts_lines_and_names_the_first(void **state)
{
	static const char log[] = "[    1.0] hello\r\n"
				  "[   16.91] BUG: unable to handle\r\n"
				  "\n"
				  "[   16.92] Oops: Oops: 0000 [#1]\n"
				  "[   17.0] no end of line: WARNING: CPU: 1";
	char first[32];

	(void)state;
	assert_int_equal(klog_warnings(log, first, sizeof(first)), 3);
	assert_string_equal(first, "BUG: unable to handle");
	assert_int_equal(klog_warnings(log, first, 4), 3);
	assert_string_equal(first, "BUG");
	assert_int_equal(klog_warnings("fine\n", first, sizeof(first)), 0);
	assert_string_equal(first, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_of_the_kernel),
		cmocka_unit_test(what_belongs_to_a_drill),
		cmocka_unit_test(counts_lines_and_names_the_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
