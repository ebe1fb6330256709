/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps on the memory of guests: writes, passes, unmerges, discards. */
#include "tests/lib/model_run.h"

#include <errno.h>

#include "tests/lib/prop_tables.h"

#define BURST 40u

struct writes {
	struct prop_rng rng;
	unsigned n;
};

static void write_some(struct prop_rng *r)
{
	struct model_guest *g = &model_run.guests[prop_below(r, MODEL_GUESTS)];
	const struct model_area *a = &model_areas[prop_below(r, MODEL_AREAS)];
	unsigned page = a->page + prop_below(r, a->pages);

	if (prop_chance(r, 40))
		model_poke(g, page, prop_below(r, TF_PAGE_SIZE),
			   (char)prop_below(r, 3));
	else
		model_fill(g, page, prop_below(r, MODEL_CONTENTS));
}

static void do_writes(void *arg)
{
	struct writes *w = arg;

	for (unsigned i = 0; i < w->n; i++)
		write_some(&w->rng);
}

struct fill {
	struct model_guest *g;
	struct model_range r;
	unsigned content, step;
	unsigned road; /* not 0: a road instead, of names from here on */
};

static void do_fill(void *arg)
{
	const struct fill *f = arg;

	for (unsigned i = 0; i < f->r.pages; i++) {
		unsigned page = f->r.page + i;
		unsigned content = (f->content + i * f->step) % MODEL_CONTENTS;

		if (f->road)
			model_fill_named(f->g, page, f->content,
					 f->road + model_road_name(i,
								   f->r.pages));
		else
			model_fill(f->g, page, content);
	}
}

void model_step_fill(void)
{
	struct fill f = { .g = model_any_guest(),
			  .r = model_any_range(60),
			  .content = model_below(MODEL_CONTENTS),
			  .step = model_below(2),
			  .road = model_below(2) ? 1 + model_below(30000) : 0 };

	prop_note("fill guest %d, %u pages at %u, content %u step %u road %u",
		  (int)(f.g - model_run.guests), f.r.pages, f.r.page, f.content,
		  f.step, f.road);
	prop_app_run(&model_run.app, do_fill, &f);
}

void model_step_write(void)
{
	struct writes w = { .rng.state = prop_next(&model_run.rng),
			    .n = 1 + model_below(4) };

	prop_note("%u writes", w.n);
	prop_app_run(&model_run.app, do_writes, &w);
}

void model_step_pass(void)
{
	struct writes w = { .rng.state = prop_next(&model_run.rng),
			    .n = BURST };
	struct tf_pass pass = { .size = sizeof(pass) };
	bool busy = model_below(2);
	int err;

	prop_note("pass%s", busy ? ", with writes" : "");
	if (busy)
		prop_app_begin(&model_run.app, do_writes, &w);
	err = tf_engine_pass(model_run.engine, &pass);
	prop_app_wait(&model_run.app, -1);
	PROP_EXPECT(!err, "pass: error %d", err);
	model_run.merged += pass.merged;
	model_run.bridged += pass.bridged;
	model_run.zeroed += pass.zero_merged;
	model_run.passes++;
}

void model_step_unmerge(void)
{
	struct model_guest *g = model_live_guest();
	struct model_range r = model_any_range(200);
	bool odd = prop_chance(&model_run.rng, 3);
	int err;

	if (!g)
		return;
	prop_note("unmerge guest %d, %u pages at %u%s",
		  (int)(g - model_run.guests), r.pages, r.page,
		  odd ? ", unaligned" : "");
	err = tf_guest_unmerge(g->guest, model_gpa(r.page) + odd,
			       (size_t)r.pages * TF_PAGE_SIZE);
	PROP_EXPECT(err == (odd ? -EINVAL : 0), "unmerge: %d", err);
	for (unsigned i = 0; !odd && !model_run.background && i < r.pages; i++)
		PROP_EXPECT(prop_frame_state(model_run.engine,
					     model_page(g, r.page + i)) !=
				    TF_FRAME_SHARED,
			    "page %u is shared after unmerge", r.page + i);
}

void model_step_discard(void)
{
	struct model_guest *g = model_live_guest();
	struct model_range r = model_any_range(40);
	int err, expected = 0;

	if (!g)
		return;
	prop_note("discard guest %d, %u pages at %u",
		  (int)(g - model_run.guests), r.pages, r.page);
	if (!model_backed(g, r.page, r.pages))
		expected = -ENOENT;
	else if (model_pinned(g, r.page, r.pages))
		expected = -EBUSY;
	err = tf_guest_discard(g->guest, model_gpa(r.page),
			       (size_t)r.pages * TF_PAGE_SIZE);
	PROP_EXPECT(err == expected, "discard: %d, not %d", err, expected);
	if (!err)
		model_discarded(g, r.page, r.pages);
}
