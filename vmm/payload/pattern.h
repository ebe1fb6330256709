/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which page has which kind of content at first. Kinds come in runs of
 * RUN_PAGES pages, PATTERN_RUNS runs to a pattern. The last run of each
 * pattern is worked on in phase RUN; of those pages the first HOT_PAGES get
 * frequent small writes, the others are rewritten in turn and change their
 * kind. The host asks as well, so that it knows where the guest writes.
 */
#ifndef TF_VMM_PAYLOAD_PATTERN_H
#define TF_VMM_PAYLOAD_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#define RUN_PAGES 16
#define PATTERN_RUNS 8
#define PATTERN_PAGES (RUN_PAGES * PATTERN_RUNS)
#define TWIN_RUN 2
#define COMMON_RUN 3 /* the first of COMMON_RUNS */
#define COMMON_RUNS 3
#define ZERO_RUN 6
#define WORK_RUN 7
#define HOT_PAGES RUN_PAGES

/* How many pages of a guest are twins of each other: TF_WORK_TWINS. */
#define TWINS 2

static inline uint32_t pattern_run(uint32_t i)
{
	return i / RUN_PAGES % PATTERN_RUNS;
}

static inline bool pattern_works_on(uint32_t i)
{
	return pattern_run(i) == WORK_RUN;
}

/* The first of the twins of page `i`. */
static inline uint32_t pattern_twin(uint32_t i)
{
	return i - i % RUN_PAGES % TWINS;
}

/* Has page `i` all its twins in its run? */
static inline bool pattern_has_twins(uint32_t i)
{
	return i % RUN_PAGES < RUN_PAGES / TWINS * TWINS;
}

#endif
