/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest side of the checking workload: its phases. It is compiled twice,
 * with page.c and lost.c: freestanding for a vCPU, and into the library for a
 * thread. So it calls nothing but what guest.h names, and keeps its state on
 * its stack and in guest RAM.
 */
#include "vmm/payload/program.h"

#define HOT_EVERY 4
#define MOVE_EVERY 16
#define DISCARD_EVERY 4 /* of the pages that are moved */

static void check(struct gw *w, uint32_t i)
{
	tf_gw_work(w, tf_gw_check, i);
}

static void touch(struct gw *w, uint32_t i)
{
	tf_gw_work(w, tf_gw_touch, i);
}

static void rewrite(struct gw *w, uint32_t i, uint32_t kind, uint32_t group)
{
	tf_gw_assign(w, i, kind, group);
	tf_gw_work(w, tf_gw_write, i);
}

/* As a balloon does it: the page reads as zeros then. */
static void discard(struct gw *w, uint32_t i)
{
	tf_gw_out(w->cfg, TF_GW_PORT_GIVE_UP, tf_gw_page_gpa(w, i));
	tf_gw_assign(w, i, TF_GW_ZERO, 0);
	check(w, i);
}

/* ---- phases ---- */

static uint32_t sync(struct gw *w)
{
	return tf_gw_in(w->cfg, TF_GW_PORT_SYNC);
}

/* Called for every page of a long loop; false: the host wants the end. */
static bool go_on(struct gw *w, uint32_t i)
{
	return i % TF_GW_BATCH || sync(w) != TF_GW_DONE;
}

static void fill(struct gw *w)
{
	for (uint32_t i = 0; i < w->pages && go_on(w, i); i++) {
		uint32_t run = pattern_run(i);
		uint32_t group = i / PATTERN_PAGES * COMMON_RUNS * RUN_PAGES +
				 i % PATTERN_PAGES - COMMON_RUN * RUN_PAGES;

		if (run == ZERO_RUN)
			rewrite(w, i, TF_GW_ZERO, 0);
		else if (run >= COMMON_RUN && run < COMMON_RUN + COMMON_RUNS)
			rewrite(w, i, TF_GW_COMMON, group);
		else if (run == TWIN_RUN && pattern_has_twins(i))
			rewrite(w, i, TF_GW_TWIN, 0);
		else
			rewrite(w, i, TF_GW_UNIQUE, 0);
		w->box->filled++;
	}
}

static void overwrite(struct gw *w)
{
	for (uint32_t i = 0; i < w->pages && go_on(w, i); i++) {
		if (w->table[i].kind == TF_GW_UNIQUE)
			continue;
		if (i % 2)
			rewrite(w, i, TF_GW_UNIQUE, 0);
		else
			touch(w, i);
	}
}

/* The n-th page that phase RUN works on. */
static uint32_t work_page(uint32_t n)
{
	return n / RUN_PAGES * PATTERN_PAGES + WORK_RUN * RUN_PAGES +
	       n % RUN_PAGES;
}

static void work(struct gw *w)
{
	uint32_t movable = w->pages / PATTERN_PAGES * RUN_PAGES - HOT_PAGES;

	if (w->cursor % HOT_EVERY == 0)
		touch(w, work_page(w->hot++ % HOT_PAGES));
	if (w->cursor % MOVE_EVERY == 0) {
		uint32_t i = work_page(HOT_PAGES + w->moved++ % movable);
		uint32_t kind = (w->table[i].kind + 1) % TF_GW_KINDS;

		check(w, i);
		if (w->moved % DISCARD_EVERY == 0)
			discard(w, i);
		rewrite(w, i, kind, w->moved);
	}
}

static void sweep(struct gw *w)
{
	for (uint32_t n = 0; n < TF_GW_BATCH; n++) {
		check(w, w->cursor);
		if (w->box->phase == TF_GW_RUN)
			work(w);
		if (++w->cursor == w->pages) {
			w->cursor = 0;
			w->box->rounds[w->box->phase]++;
		}
	}
}

static void enter(struct gw *w, uint32_t phase)
{
	w->box->ready = 0;
	w->box->phase = phase;
	w->cursor = 0;
	if (phase == TF_GW_FILL)
		fill(w);
	else if (phase == TF_GW_OVERWRITE)
		overwrite(w);
	w->box->ready = 1;
}

void tf_gw_main(const struct tf_gw_config *cfg)
{
	struct gw w = {
		.cfg = cfg,
		.box = tf_gw_at(cfg->mailbox),
		.mces = tf_gw_at(cfg->mces),
		.table = tf_gw_at(cfg->table),
		.pages = cfg->seg[0].pages + cfg->seg[1].pages,
	};
	uint32_t wanted;

	tf_gw_listen(cfg);
	tf_gw_make_tapes(cfg);
	while ((wanted = sync(&w)) != TF_GW_DONE) {
		if (wanted != w.box->phase)
			enter(&w, wanted);
		else if (wanted >= TF_GW_RUN)
			sweep(&w);
	}
	enter(&w, TF_GW_DONE);
	sync(&w);
}
