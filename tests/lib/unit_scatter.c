/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* KSM for a test, and RAM that is handed over to it. No locks. */
#include "lib/unit_scatter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/knob.h"
#include "agent/ksm.h"
#include "lib/unit_knobs.h"

#define CONTENTS 32u

static const char *why_not; /* KSM cannot be used, or NULL */

int scatter_take_ksm(void **state)
{
	int err;

	unit_knobs_take(state);
	err = unit_knobs_taken();
	if (ksm_usable(&why_not))
		return 0;
	why_not = err ? "another process changes KSM's settings now" : NULL;
	if (!err && ksm_setup(false))
		why_not = "KSM's settings cannot be changed";
	return 0;
}

uint64_t scatter_content(unsigned page)
{
	return page % 2 ? 100000 + page : 1 + page / 2 % CONTENTS;
}

void scatter_assert_contents(const struct scattered *s)
{
	for (unsigned i = 0; i < SCATTER_PAGES; i++)
		unit_assert_page(s->ram + i * TF_PAGE, scatter_content(i));
}

void scatter_init(struct scattered *s)
{
	if (why_not)
		unit_skip(why_not);
	assert_int_equal(ksm_clear(), 0);
	*s = (struct scattered){ 0 };
	unit_init(&s->u);
	s->u.opts.vma_budget = SCATTER_BUDGET;
	s->u.opts.scatter = TF_SCATTER_KSM;
	s->u.opts.smart_scan = 0;
}

void scatter_open(struct scattered *s)
{
	unit_open(&s->u);
	s->g = unit_guest(&s->u, NULL);
	s->ram = unit_ram(&s->u, SCATTER_PAGES * TF_PAGE);
	for (unsigned i = 0; i < SCATTER_PAGES; i++)
		unit_fill(s->ram + i * TF_PAGE, scatter_content(i));
}

void scatter_open_handed(struct scattered *s)
{
	scatter_init(s);
	assert_int_equal(ksm_run(true), 0);
	scatter_open(s);
	unit_slot(s->g, 0, 0, s->ram, SCATTER_PAGES * TF_PAGE);
	unit_passes(&s->u, 2);
	assert_true(unit_stats(&s->u).pages_handed > SCATTER_PAGES / 2);
}

void scatter_end(struct scattered *s)
{
	unit_close(&s->u);
	assert_int_equal(ksm_clear(), 0);
}

struct ksm_counts scatter_after_full_scans(void)
{
	struct ksm_counts c;
	uint64_t until;

	assert_int_equal(ksm_counts(&c), 0);
	until = c.full_scans + 4;
	for (int i = 0; i < 3000 && c.full_scans < until; i++) {
		usleep(10000);
		assert_int_equal(ksm_counts(&c), 0);
	}
	assert_true(c.full_scans >= until);
	return c;
}

size_t scatter_mergeable(const char *from, size_t len)
{
	unsigned long lo = (uintptr_t)from, hi = lo + len, a, b;
	unsigned long start = 0, stop = 0;
	char *text, *save = NULL;
	size_t bytes = 0;

	assert_int_equal(tf_os_linux.read_file(&tf_os_linux, "/proc/self/smaps",
					       &text),
			 0);
	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
			start = a > lo ? a : lo;
			stop = b < hi ? b : hi;
		}
		if (!strncmp(line, "VmFlags:", 8) && strstr(line, " mg") &&
		    start < stop)
			bytes += stop - start;
	}
	free(text);
	return bytes;
}

unsigned long long scatter_merging_pages(void)
{
	unsigned long long n = 0;

	knob_read_u64("/proc/self/ksm_merging_pages", &n);
	return n;
}

/* ksmd gives up its own records of such pages as it comes by them. */
void scatter_assert_unmerged(unsigned long long most)
{
	for (unsigned i = 0; scatter_merging_pages() > most && i < 1000; i++)
		usleep(10000);
	assert_in_range(scatter_merging_pages(), 0, most);
}
