/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random memslots, fills, writes, passes, unmerges, discards, pins, deletes
 * against a plain model. After every step all invariants hold; every so many
 * steps every byte of every guest is compared, and what is mapped with what
 * the tables say. Each epoch is an engine of its own with other options, and
 * ends with tf_engine_destroy() in full swing.
 *
 * TF_SEED: replay. TF_STEPS: how many; 100,000 without it, fewer under a
 * sanitizer. TF_COMPARE_EVERY: steps between comparisons of all bytes.
 * TF_HUGE_PERCENT: guests whose memory may be huge pages.
 *
 * ctest-timeout: 240
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/model.h"
#include "tests/lib/prop.h"
#include "tests/lib/prop_app.h"
#include "tests/lib/prop_tables.h"
#include "tests/lib/threads.h"

#define EPOCH_STEPS 4000u
#define BYTES_EVERY 50u
#define TABLES_EVERY 200u
#define BURST 40u

static struct test {
	struct prop_rng rng;
	struct prop_app app;
	struct tf_engine *engine;
	struct model_guest guests[MODEL_GUESTS];
	bool background;
	uint64_t merged, zeroed, bridged, passes; /* it was worth it */
	char options[100];  /* of this epoch, for a failure's message */
	uint64_t left_over; /* memory refused: the kernel had copied there */
} t;

/* ---- choices ---- */

static unsigned below(unsigned n)
{
	return prop_below(&t.rng, n);
}

struct range {
	unsigned page, pages;
};

/* Some pages of an area; runs are short more often than not. */
static struct range any_range(unsigned max)
{
	const struct model_area *a = &model_areas[below(MODEL_AREAS)];
	struct range r = { .page = a->page + below(a->pages) };
	unsigned room = a->page + a->pages - r.page;

	if (max > room)
		max = room;
	r.pages = 1 + below(prop_chance(&t.rng, 70) && max > 8 ? 8 : max);
	return r;
}

static struct model_guest *any_guest(void)
{
	return &t.guests[below(MODEL_GUESTS)];
}

static struct model_guest *live_guest(void)
{
	struct model_guest *g = any_guest();

	return g->guest ? g : NULL;
}

/* ---- what the application thread does ---- */

struct writes {
	struct prop_rng rng;
	unsigned n;
};

static void write_some(struct prop_rng *r)
{
	struct model_guest *g = &t.guests[prop_below(r, MODEL_GUESTS)];
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
	struct range r;
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

static void fail_page(const struct model_guest *g, unsigned page)
{
	const char *is = model_page(g, page), *want = model_shadow(g, page);
	int at = 0;

	while (at < (int)TF_PAGE_SIZE - 1 && is[at] == want[at])
		at++;
	prop_fail("guest %d, page %u of its bank: byte %d is %d, not %d; "
		  "frame state %d; it holds content %d, should hold %d; "
		  "huge pages %d; %s",
		  (int)(g - t.guests), page, at, is[at], want[at],
		  t.engine ? (int)prop_frame_state(t.engine, is) : -1,
		  model_find_content(is), model_find_content(want), g->huge,
		  t.options);
}

static void do_compare(void *arg)
{
	const struct model_guest *g = arg;
	int page = model_compare(g);

	if (page >= 0)
		fail_page(g, (unsigned)page);
}

/* ---- steps ---- */

static void step_fill(void)
{
	struct fill f = { .g = any_guest(),
			  .r = any_range(60),
			  .content = below(MODEL_CONTENTS),
			  .step = below(2),
			  .road = below(2) ? 1 + below(30000) : 0 };

	prop_note("fill guest %d, %u pages at %u, content %u step %u road %u",
		  (int)(f.g - t.guests), f.r.pages, f.r.page, f.content, f.step,
		  f.road);
	prop_app_run(&t.app, do_fill, &f);
}

static void step_write(void)
{
	struct writes w = { .rng.state = prop_next(&t.rng), .n = 1 + below(4) };

	prop_note("%u writes", w.n);
	prop_app_run(&t.app, do_writes, &w);
}

/* A pass; every other one while the application writes. */
static void step_pass(void)
{
	struct writes w = { .rng.state = prop_next(&t.rng), .n = BURST };
	struct tf_pass pass = { .size = sizeof(pass) };
	bool busy = below(2);
	int err;

	prop_note("pass%s", busy ? ", with writes" : "");
	if (busy)
		prop_app_begin(&t.app, do_writes, &w);
	err = tf_engine_pass(t.engine, &pass);
	prop_app_wait(&t.app, -1);
	PROP_EXPECT(!err, "pass: error %d", err);
	t.merged += pass.merged;
	t.bridged += pass.bridged;
	t.zeroed += pass.zero_merged;
	t.passes++;
}

static void step_unmerge(void)
{
	struct model_guest *g = live_guest();
	struct range r = any_range(200);
	bool odd = prop_chance(&t.rng, 3);
	int err;

	if (!g)
		return;
	prop_note("unmerge guest %d, %u pages at %u%s", (int)(g - t.guests),
		  r.pages, r.page, odd ? ", unaligned" : "");
	err = tf_guest_unmerge(g->guest, model_gpa(r.page) + odd,
			       (size_t)r.pages * TF_PAGE_SIZE);
	PROP_EXPECT(err == (odd ? -EINVAL : 0), "unmerge: %d", err);
	for (unsigned i = 0; !odd && !t.background && i < r.pages; i++)
		PROP_EXPECT(prop_frame_state(t.engine,
					     model_page(g, r.page + i)) !=
				    TF_FRAME_SHARED,
			    "page %u is shared after unmerge", r.page + i);
}

static void step_discard(void)
{
	struct model_guest *g = live_guest();
	struct range r = any_range(40);
	int err, expected = 0;

	if (!g)
		return;
	prop_note("discard guest %d, %u pages at %u", (int)(g - t.guests),
		  r.pages, r.page);
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

static void step_pin(void)
{
	struct model_guest *g = live_guest();
	struct model_pin *pin = g ? &g->pins[below(MODEL_PINS)] : NULL;
	struct range r = any_range(20);
	int err, expected;

	if (!pin || pin->pages)
		return;
	prop_note("pin guest %d, %u pages at %u", (int)(g - t.guests), r.pages,
		  r.page);
	expected = model_backed(g, r.page, r.pages) ? 0 : -ENOENT;
	err = tf_guest_pin(g->guest, model_gpa(r.page),
			   (size_t)r.pages * TF_PAGE_SIZE);
	PROP_EXPECT(err == expected, "pin: %d, not %d", err, expected);
	if (!err)
		*pin = (struct model_pin){ r.page, r.pages };
}

static void step_unpin(void)
{
	struct model_guest *g = live_guest();
	struct model_pin *pin = g ? &g->pins[below(MODEL_PINS)] : NULL;
	int err;

	if (!pin || !pin->pages)
		return;
	prop_note("unpin guest %d, %u pages at %u", (int)(g - t.guests),
		  pin->pages, pin->page);
	err = tf_guest_unpin(g->guest, model_gpa(pin->page),
			     (size_t)pin->pages * TF_PAGE_SIZE);
	PROP_EXPECT(!err, "unpin: %d", err);
	*pin = (struct model_pin){ 0 };
}

static int slot_expected(const struct model_guest *g, unsigned slot,
			 struct range r)
{
	if (g->slots[slot].used)
		return -EEXIST;
	for (unsigned i = 0; i < MODEL_SLOTS; i++) {
		const struct model_slot *s = &g->slots[i];

		if (s->used && r.page < s->page + s->pages &&
		    s->page < r.page + r.pages)
			return -EINVAL;
	}
	return 0;
}

static void add_slot(struct model_guest *g, unsigned slot, struct range r)
{
	int expected = slot_expected(g, slot, r);
	int err;

	prop_note("add slot %u of guest %d, %u pages at %u", slot,
		  (int)(g - t.guests), r.pages, r.page);
	err = tf_guest_add_memslot(g->guest, slot, model_gpa(r.page),
				   model_page(g, r.page),
				   (size_t)r.pages * TF_PAGE_SIZE);
	if (!expected && err == -EOPNOTSUPP &&
	    prop_maps_store(model_page(g, r.page),
			    (size_t)r.pages * TF_PAGE_SIZE)) {
		t.left_over++;
		return;
	}
	/* Where two reasons meet, the library may give either. */
	PROP_EXPECT(err == expected || (err && expected && err != -ENOMEM),
		    "add slot: %d, not %d", err, expected);
	if (!err)
		g->slots[slot] = (struct model_slot){ true, r.page, r.pages };
}

static void step_add(void)
{
	struct model_guest *g = live_guest();

	if (g)
		add_slot(g, below(MODEL_SLOTS), any_range(120));
}

static void step_del(void)
{
	struct model_guest *g = live_guest();
	unsigned slot = below(MODEL_SLOTS);
	int err;

	if (!g)
		return;
	prop_note("del slot %u of guest %d", slot, (int)(g - t.guests));
	err = tf_guest_del_memslot(g->guest, slot);
	PROP_EXPECT(err == (g->slots[slot].used ? 0 : -ENOENT), "del slot: %d",
		    err);
	g->slots[slot].used = false;
}

static void guest_create(struct model_guest *g)
{
	static const char *const domains[] = { NULL, "one", "one", "two" };
	struct tf_guest_opts o = { .size = sizeof(o),
				   .trust_domain = domains[below(4)] };
	int err = tf_guest_create(t.engine, &o, &g->guest);

	prop_note("create guest %d in domain %s", (int)(g - t.guests),
		  o.trust_domain ? o.trust_domain : "(its own)");
	PROP_EXPECT(!err, "create guest: %d", err);
	for (unsigned i = 0; i < MODEL_AREAS; i++)
		add_slot(g, i,
			 (struct range){ model_areas[i].page,
					 model_areas[i].pages });
}

/* The engine forgets the guest; its memory goes on. */
static void guest_forget(struct model_guest *g)
{
	g->guest = NULL;
	memset(g->slots, 0, sizeof(g->slots));
	memset(g->pins, 0, sizeof(g->pins));
}

static void step_guest(void)
{
	struct model_guest *g = any_guest();

	if (!g->guest) {
		guest_create(g);
		return;
	}
	prop_note("destroy guest %d", (int)(g - t.guests));
	tf_guest_destroy(g->guest);
	guest_forget(g);
}

static void step_background(void)
{
	int err;

	prop_note(t.background ? "stop" : "start");
	err = t.background ? tf_engine_stop(t.engine) :
			     tf_engine_start(t.engine);
	PROP_EXPECT(!err, "start or stop: %d", err);
	t.background = !t.background;
}

static const struct step {
	void (*run)(void);
	unsigned weight;
} steps[] = {
	{ step_fill, 18 },   { step_write, 24 },     { step_pass, 26 },
	{ step_unmerge, 8 }, { step_discard, 8 },    { step_pin, 4 },
	{ step_unpin, 5 },   { step_add, 3 },        { step_del, 2 },
	{ step_guest, 1 },   { step_background, 1 },
};

static void one_step(void)
{
	unsigned total = 0, at;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		total += steps[i].weight;
	at = below(total);
	for (size_t i = 0;; i++) {
		if (at < steps[i].weight) {
			steps[i].run();
			return;
		}
		at -= steps[i].weight;
	}
}

/* ---- checks ---- */

static void compare_all(void)
{
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		prop_app_run(&t.app, do_compare, &t.guests[i]);
}

/* Every frame is in one state, and no content has more copies than frames. */
static void check_stats(void)
{
	struct tf_stats s = { .size = sizeof(s) };
	uint64_t merged = 0, zero = 0, cow = 0, bytes = 0;

	PROP_EXPECT(!tf_engine_stats(t.engine, &s), "no statistics");
	for (unsigned i = 0; i < MODEL_GUESTS; i++) {
		struct tf_guest_stats g = { .size = sizeof(g) };

		if (!t.guests[i].guest)
			continue;
		PROP_EXPECT(!tf_guest_stats(t.guests[i].guest, &g),
			    "no statistics of guest %u", i);
		merged += g.pages_merged;
		zero += g.zero_pages;
		cow += g.pages_cow;
		bytes += g.bytes;
	}
	PROP_EXPECT(t.background || s.pages_shared + s.pages_sharing == merged,
		    "shared %llu + sharing %llu, guests have %llu",
		    (unsigned long long)s.pages_shared,
		    (unsigned long long)s.pages_sharing,
		    (unsigned long long)merged);
	PROP_EXPECT(t.background ||
			    (s.zero_pages == zero && s.pages_cow == cow),
		    "zero or copied frames do not add up");
	PROP_EXPECT((merged + zero + cow) * TF_PAGE_SIZE <= bytes,
		    "more frames than memory");
	PROP_EXPECT(s.chains + s.chain_dups >= s.pages_shared,
		    "more copies in use than there are");
}

static void epoch(unsigned no, unsigned long n)
{
	unsigned long every = prop_env("TF_COMPARE_EVERY", BYTES_EVERY);
	struct tf_engine_opts o;
	int err;

	tf_engine_opts_init(&o);
	o.max_page_sharing = below(4) ? 2 + below(4) : 256;
	o.use_zero_pages = (int)below(4) != 0;
	o.smart_scan = (int)below(2);
	o.scan_mode = below(3) ? TF_SCAN_AUTO : TF_SCAN_HASH;
	snprintf(t.options, sizeof(t.options),
		 "epoch %u: max_page_sharing %u, zero %d, smart %d, mode %d",
		 no, o.max_page_sharing, o.use_zero_pages, o.smart_scan,
		 (int)o.scan_mode);
	prop_note("%s", t.options);
	err = tf_engine_create(&o, &t.engine);
	PROP_EXPECT(!err, "create: %d", err);
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		guest_create(&t.guests[i]);
	for (unsigned long i = 1; i <= n; i++) {
		prop_watchdog(30, "a step of the model");
		one_step();
		prop_check_engine(t.engine, "after a step");
		if (i % every == 0)
			compare_all();
		if (i % TABLES_EVERY == 0) {
			check_stats();
			prop_check_tables(t.engine);
		}
	}
	tf_engine_destroy(t.engine);
	t.engine = NULL;
	t.background = false;
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		guest_forget(&t.guests[i]);
	compare_all();
}

/* Banks are renewed: in the old ones, frames are still mapped to slots that
 * no engine knows any more, and memslots refuse such memory. */
static void banks_renew(void)
{
	for (unsigned i = 0; i < MODEL_GUESTS; i++) {
		if (t.guests[i].bank)
			model_close(&t.guests[i]);
		model_open(&t.guests[i],
			   below(100) < prop_env("TF_HUGE_PERCENT", 33));
	}
}

static bool can_merge(void)
{
	struct tf_stats s = { .size = sizeof(s) };
	struct tf_engine *e;

	if (tf_engine_create(NULL, &e))
		return false;
	tf_engine_stats(e, &s);
	tf_engine_start(e);
	tf_engine_destroy(e);
	return s.can_merge;
}

static void epochs(unsigned long n)
{
	for (unsigned no = 0; n; no++) {
		unsigned long part = n < EPOCH_STEPS ? n : EPOCH_STEPS;

		banks_renew();
		epoch(no, part);
		n -= part;
	}
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		model_close(&t.guests[i]);
}

int main(void)
{
	unsigned long n = prop_env("TF_STEPS", test_scaled(100000));
	struct leak before;

	t.rng.state = prop_begin("test_model");
	prop_app_start(&t.app);
	if (!can_merge())
		prop_skip("this host cannot merge (UFFDIO_MOVE, Linux 6.8, and "
			  "the right to use userfaultfd)");
	/* The C library keeps memory of the first run for the next. */
	epochs(100);
	leak_take(&before);
	epochs(n);
	prop_check_held(&before, "at the end");
	prop_app_stop(&t.app);
	printf("%llu passes, %llu merged, %llu zero pages, %llu bridges, "
	       "%llu memslots refused for pages that the kernel copied\n",
	       (unsigned long long)t.passes, (unsigned long long)t.merged,
	       (unsigned long long)t.zeroed, (unsigned long long)t.bridged,
	       (unsigned long long)t.left_over);
	PROP_EXPECT(t.merged > n / 100, "next to nothing was merged");
	PROP_EXPECT(t.bridged >= n / 200, "next to nothing was bridged");
	return 0;
}
