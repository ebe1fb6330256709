/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of scatter=ksm share: the real KSM, taken once for all cases
 * of a program and put back at its end, and RAM that is worth handing over.
 * Cases are skipped where KSM is missing, in use, or may not be set up.
 */
#ifndef TF_TESTS_LIB_UNIT_SCATTER_H
#define TF_TESTS_LIB_UNIT_SCATTER_H

#include "agent/ksm.h"
#include "lib/unit_knobs.h"
#include "lib/unit_world.h"

#define SCATTER_BUDGET 64u
#define SCATTER_PAGES (2 * TF_BLOCK_PAGES)

struct scattered {
	struct unit u;
	struct tf_guest *g;
	char *ram; /* SCATTER_PAGES pages */
};

/* The group's setup. */
int scatter_take_ksm(void **state);

#define scatter_run(tests)                                                     \
	(unit_warm_up(), cmocka_run_group_tests(tests, scatter_take_ksm,       \
						unit_knobs_give_back))

/*
 * Options may change between these two. The RAM is filled by the second and
 * no memslot yet; KSM does not run.
 */
void scatter_init(struct scattered *s);
void scatter_open(struct scattered *s);
/* Both; KSM runs, and two dense blocks are handed over. */
void scatter_open_handed(struct scattered *s);
void scatter_end(struct scattered *s);

/* Every other page has one of a few contents; the others are unique. */
uint64_t scatter_content(unsigned page);
void scatter_assert_contents(const struct scattered *s);

/* Wait until KSM has looked at every page often enough to merge it. */
struct ksm_counts scatter_after_full_scans(void);
/* Bytes of [from, from + len) that are KSM's to merge. */
size_t scatter_mergeable(const char *from, size_t len);
/* Pages of this process that KSM merged; 0 also where no file tells. */
unsigned long long scatter_merging_pages(void);
/* At most so many of them, some time soon. */
void scatter_assert_unmerged(unsigned long long most);

#endif
