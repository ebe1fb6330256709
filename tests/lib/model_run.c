/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The run: choices, and whether all bytes are as they must be. */
#include "tests/lib/model_run.h"

#include "tests/lib/prop_tables.h"

struct model_run model_run;

unsigned model_below(unsigned n)
{
	return prop_below(&model_run.rng, n);
}

struct model_range model_any_range(unsigned max)
{
	const struct model_area *a = &model_areas[model_below(MODEL_AREAS)];
	struct model_range r = { .page = a->page + model_below(a->pages) };
	unsigned room = a->page + a->pages - r.page;

	if (max > room)
		max = room;
	r.pages = 1 + model_below(prop_chance(&model_run.rng, 70) && max > 8 ?
					  8 :
					  max);
	return r;
}

struct model_guest *model_any_guest(void)
{
	return &model_run.guests[model_below(MODEL_GUESTS)];
}

struct model_guest *model_live_guest(void)
{
	struct model_guest *g = model_any_guest();

	return g->guest ? g : NULL;
}

static void fail_page(const struct model_guest *g, unsigned page)
{
	const char *is = model_page(g, page), *want = model_shadow(g, page);
	int at = 0;

	while (at < (int)TF_PAGE_SIZE - 1 && is[at] == want[at])
		at++;
	prop_fail("guest %d, page %u of its bank: byte %d is %d, not %d; "
		  "frame state %d; it holds content %d, should hold %d; "
		  "huge pages %d; %s",
		  (int)(g - model_run.guests), page, at, is[at], want[at],
		  model_run.engine ?
			  (int)prop_frame_state(model_run.engine, is) :
			  -1,
		  model_find_content(is), model_find_content(want), g->huge,
		  model_run.options);
}

static void do_compare(void *arg)
{
	const struct model_guest *g = arg;
	int page = model_compare(g);

	if (page >= 0)
		fail_page(g, (unsigned)page);
}

void model_compare_all(void)
{
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		prop_app_run(&model_run.app, do_compare, &model_run.guests[i]);
}
