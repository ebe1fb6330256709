/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guest's program does about pages that it was told are lost: it
 * gives them up and writes them anew, between two operations. An operation on
 * a page that is lost is ended where it is. The handler only takes notes
 * (mce.c): after an error with action optional it just returns.
 *
 * A page that the guest knows to be lost is never touched before it is given
 * up; so nobody is told of it twice.
 */
#include "vmm/payload/program.h"

#define NO_PAGE UINT32_MAX

struct op {
	struct gw *w;
	void (*fn)(struct gw *w, uint32_t i);
	uint32_t page;
	bool again;
};

static bool any_lost(const struct gw *w)
{
	return w->mces->count != w->mces->handled;
}

/* A machine check that came before this ends the operation; one that comes
 * later does so by itself, if it is for this page. */
static void run_op(void *arg)
{
	struct op *op = arg;

	op->again = any_lost(op->w);
	if (!op->again)
		op->fn(op->w, op->page);
}

static void run_write(void *arg)
{
	const struct op *op = arg;

	tf_gw_write(op->w, op->page);
}

static uint32_t page_of(const struct gw *w, uint32_t gpa)
{
	const struct tf_gw_seg *seg = w->cfg->seg;

	if (gpa >= seg[1].gpa && gpa - seg[1].gpa < seg[1].pages * 4096)
		return seg[0].pages + (gpa - seg[1].gpa) / 4096;
	if (gpa >= seg[0].gpa && gpa - seg[0].gpa < seg[0].pages * 4096)
		return (gpa - seg[0].gpa) / 4096;
	return NO_PAGE;
}

static void give_up(struct gw *w, uint32_t i)
{
	struct op op = { .w = w, .page = i };
	const struct tf_gw_page *e = &w->table[i];

	tf_gw_out(w->cfg, TF_GW_PORT_GIVE_UP, tf_gw_page_gpa(w, i));
	tf_gw_assign(w, i, e->kind, e->id);
	w->mces->busy = tf_gw_page_gpa(w, i);
	tf_gw_try(w->cfg, run_write, &op);
	w->box->lost_pages++;
}

static void relieve(struct gw *w)
{
	while (any_lost(w)) {
		uint32_t n = w->mces->handled % TF_GW_MCE_RING;
		uint32_t gpa = w->mces->ring[n].gpa;
		uint32_t i = page_of(w, gpa);

		if (i == NO_PAGE)
			tf_gw_out(w->cfg, TF_GW_PORT_DEAD, gpa);
		else
			give_up(w, i);
		w->mces->handled++;
	}
}

void tf_gw_work(struct gw *w, void (*fn)(struct gw *w, uint32_t i), uint32_t i)
{
	struct op op = { .w = w, .fn = fn, .page = i };

	do {
		relieve(w);
		w->mces->busy = tf_gw_page_gpa(w, i);
		op.again = false;
		tf_gw_try(w->cfg, run_op, &op);
	} while (op.again);
	relieve(w);
}

bool tf_gw_is_lost(const struct gw *w, uint32_t i)
{
	uint32_t gpa = tf_gw_page_gpa(w, i);

	for (uint32_t n = w->mces->handled; n != w->mces->count; n++)
		if (w->mces->ring[n % TF_GW_MCE_RING].gpa == gpa)
			return true;
	return false;
}
