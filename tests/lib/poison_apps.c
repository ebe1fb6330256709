/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guests of the poison test. Owns the application threads. */
#include "tests/lib/poison_apps.h"

#include "tests/lib/prop_app.h"
#include "tests/lib/prop_tables.h"

static struct {
	struct prop_app app[POISON_APPS];
	struct fates *fates;
	struct tf_engine *engine;
	atomic_bool rest;
} apps;

struct poison_range poison_range(struct prop_rng *rng, unsigned max)
{
	const struct model_area *a = &model_areas[prop_below(rng, MODEL_AREAS)];
	struct poison_range r = { .guest = prop_below(rng, MODEL_GUESTS),
				  .page = a->page + prop_below(rng, a->pages) };
	unsigned room = a->page + a->pages - r.page;

	r.pages = 1 + prop_below(rng, max < room ? max : room);
	return r;
}

static struct model_guest *guest_of(struct poison_range r)
{
	return &apps.fates->guests[r.guest];
}

void poison_apps_start(struct fates *f)
{
	apps.fates = f;
	for (unsigned i = 0; i < POISON_APPS; i++)
		prop_app_start(&apps.app[i]);
}

void poison_apps_stop(void)
{
	for (unsigned i = 0; i < POISON_APPS; i++)
		prop_app_stop(&apps.app[i]);
}

void poison_apps_watch(struct tf_engine *e)
{
	apps.engine = e;
}

static void look_at(struct fate_page p)
{
	const struct model_guest *g = &apps.fates->guests[p.guest];
	const char *is = model_page(g, p.page);

	if (fates_page_is_right(apps.fates, p))
		return;
	prop_fail("guest %u, page %u, fate %d, frame state %d: holds "
		  "content %d, should hold %d",
		  p.guest, p.page, (int)fates_of(apps.fates, p),
		  apps.engine ? (int)prop_frame_state(apps.engine, is) : -1,
		  model_find_content(is),
		  model_find_content(model_shadow(g, p.page)));
}

struct fill {
	struct poison_range r;
	unsigned content, step, road;
};

static void do_fill(void *arg)
{
	const struct fill *f = arg;

	for (unsigned i = 0; i < f->r.pages; i++) {
		unsigned content = (f->content + i * f->step) % MODEL_CONTENTS;

		if (f->road)
			model_fill_named(
				guest_of(f->r), f->r.page + i, f->content,
				f->road + model_road_name(i, f->r.pages));
		else
			model_fill(guest_of(f->r), f->r.page + i, content);
	}
}

void poison_apps_fill(struct poison_range r, unsigned content, unsigned step,
		      unsigned road)
{
	struct fill f = { r, content, step, road };

	prop_app_run(&apps.app[0], do_fill, &f);
}

struct burst {
	struct prop_rng rng;
	unsigned n; /* 0: until `rest` */
	unsigned app;
};

static void write_one(struct prop_rng *rng, unsigned app)
{
	struct poison_range r = poison_range(rng, 1);
	struct model_guest *g = guest_of(r);

	if (r.page % POISON_APPS != app)
		return;
	switch (prop_below(rng, 4)) {
	case 0:
		look_at((struct fate_page){ r.guest, r.page });
		break;
	case 1:
		model_fill(g, r.page, prop_below(rng, MODEL_CONTENTS));
		break;
	default:
		model_poke(g, r.page, prop_below(rng, TF_PAGE_SIZE),
			   (char)(1 + prop_below(rng, 3)));
	}
}

static void do_burst(void *arg)
{
	struct burst *b = arg;

	for (unsigned i = 0; b->n ? i < b->n : !atomic_load(&apps.rest); i++)
		write_one(&b->rng, b->app);
}

void poison_apps_write(unsigned app, unsigned n, uint64_t seed)
{
	struct burst b = { .rng.state = seed, .n = n, .app = app };

	prop_app_run(&apps.app[app], do_burst, &b);
}

void poison_apps_hurry(uint64_t seed)
{
	static struct burst burst[POISON_APPS];

	atomic_store(&apps.rest, false);
	for (unsigned i = 0; i < POISON_APPS; i++) {
		burst[i] = (struct burst){ .rng.state = seed + i, .app = i };
		prop_app_begin(&apps.app[i], do_burst, &burst[i]);
	}
}

void poison_apps_rest(void)
{
	atomic_store(&apps.rest, true);
	for (unsigned i = 0; i < POISON_APPS; i++)
		prop_app_wait(&apps.app[i], -1);
}

static void do_look(void *arg)
{
	const struct poison_range *r = arg;

	for (unsigned i = 0; i < r->pages; i++)
		look_at((struct fate_page){ r->guest, r->page + i });
}

void poison_apps_look(unsigned app, struct poison_range r)
{
	prop_app_run(&apps.app[app], do_look, &r);
}

void poison_apps_look_at_all(void)
{
	for (unsigned g = 0; g < MODEL_GUESTS; g++)
		for (unsigned a = 0; a < MODEL_AREAS; a++)
			poison_apps_look(0, (struct poison_range){
						    g, model_areas[a].page,
						    model_areas[a].pages });
}

struct meeting {
	struct poison_range r;
	unsigned offset;
	char value;
};

static void do_meet(void *arg)
{
	const struct meeting *m = arg;

	model_poke(guest_of(m->r), m->r.page, m->offset, m->value);
}

void poison_apps_meet(struct poison_range r)
{
	struct meeting m[POISON_APPS];
	const char *page = model_page(guest_of(r), r.page);

	for (unsigned i = 0; i < POISON_APPS; i++) {
		m[i] = (struct meeting){ r, 1000 * (i + 1), (char)(i + 70) };
		prop_app_begin(&apps.app[i], do_meet, &m[i]);
	}
	poison_apps_rest();
	for (unsigned i = 0; i < POISON_APPS; i++)
		PROP_EXPECT(page[m[i].offset] == m[i].value,
			    "a write to lost page %u of guest %u is lost",
			    r.page, r.guest);
}

static void do_touch(void *arg)
{
	(void)arg;
	fates_touch(apps.fates);
}

void poison_apps_touch(void)
{
	prop_app_run(&apps.app[0], do_touch, NULL);
}

static void do_end(void *arg)
{
	(void)arg;
	fates_end(apps.fates);
}

void poison_apps_end(void)
{
	prop_app_run(&apps.app[0], do_end, NULL);
}
