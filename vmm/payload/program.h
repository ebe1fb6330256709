/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the guest's program share: guest.c (phases), page.c
 * (contents and checks), lost.c (pages that are lost). Nobody but this guest
 * writes to its pages, so there is nothing to lock.
 */
#ifndef TF_VMM_PAYLOAD_PROGRAM_H
#define TF_VMM_PAYLOAD_PROGRAM_H

#include <stdbool.h>

#include "vmm/payload/guest.h"
#include "vmm/payload/pattern.h"

struct gw {
	const struct tf_gw_config *cfg;
	struct tf_gw_mailbox *box;
	volatile struct tf_gw_mces *mces;
	struct tf_gw_page *table;
	uint32_t pages;
	uint32_t stamp;      /* generations handed out */
	uint32_t cursor;     /* the next page to check */
	uint32_t hot, moved; /* writes of each sort in phase RUN */
};

static inline void *tf_gw_at(uint64_t va)
{
	return (void *)(uintptr_t)va;
}

/* ---- page.c ---- */

void tf_gw_make_tapes(const struct tf_gw_config *cfg);
uint32_t tf_gw_page_gpa(const struct gw *w, uint32_t i);

/* What page `i` is to hold; it is not written. `group`: of a common page. */
void tf_gw_assign(struct gw *w, uint32_t i, uint32_t kind, uint32_t group);

/* Operations on page `i`, for tf_gw_work(). */
void tf_gw_write(struct gw *w, uint32_t i); /* all of it */
void tf_gw_touch(struct gw *w, uint32_t i); /* one word */
void tf_gw_check(struct gw *w, uint32_t i);

/* ---- lost.c ---- */

/* Do fn(w, i). If page `i` is lost meanwhile, it is given up and written
 * anew instead, and so are all pages that the guest was told of before. */
void tf_gw_work(struct gw *w, void (*fn)(struct gw *w, uint32_t i), uint32_t i);

/* Was the guest told that page `i` is lost, and did nothing about it yet? */
bool tf_gw_is_lost(const struct gw *w, uint32_t i);

#endif
