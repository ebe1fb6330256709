/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps in which memslots, pins and guests come and go. */
#include "tests/lib/model_run.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/prop_tables.h"

void model_step_pin(void)
{
	struct model_guest *g = model_live_guest();
	struct model_pin *pin = g ? &g->pins[model_below(MODEL_PINS)] : NULL;
	struct model_range r = model_any_range(20);
	int err, expected;

	if (!pin || pin->pages)
		return;
	prop_note("pin guest %d, %u pages at %u", (int)(g - model_run.guests),
		  r.pages, r.page);
	expected = model_backed(g, r.page, r.pages) ? 0 : -ENOENT;
	err = tf_guest_pin(g->guest, model_gpa(r.page),
			   (size_t)r.pages * TF_PAGE_SIZE);
	PROP_EXPECT(err == expected, "pin: %d, not %d", err, expected);
	if (!err)
		*pin = (struct model_pin){ r.page, r.pages };
}

void model_step_unpin(void)
{
	struct model_guest *g = model_live_guest();
	struct model_pin *pin = g ? &g->pins[model_below(MODEL_PINS)] : NULL;
	int err;

	if (!pin || !pin->pages)
		return;
	prop_note("unpin guest %d, %u pages at %u", (int)(g - model_run.guests),
		  pin->pages, pin->page);
	err = tf_guest_unpin(g->guest, model_gpa(pin->page),
			     (size_t)pin->pages * TF_PAGE_SIZE);
	PROP_EXPECT(!err, "unpin: %d", err);
	*pin = (struct model_pin){ 0 };
}

static int slot_expected(const struct model_guest *g, unsigned slot,
			 struct model_range r)
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

static void add_slot(struct model_guest *g, unsigned slot, struct model_range r)
{
	int expected = slot_expected(g, slot, r);
	int err;

	prop_note("add slot %u of guest %d, %u pages at %u", slot,
		  (int)(g - model_run.guests), r.pages, r.page);
	err = tf_guest_add_memslot(g->guest, slot, model_gpa(r.page),
				   model_page(g, r.page),
				   (size_t)r.pages * TF_PAGE_SIZE);
	if (!expected && err == -EOPNOTSUPP &&
	    prop_maps_store(model_page(g, r.page),
			    (size_t)r.pages * TF_PAGE_SIZE)) {
		model_run.left_over++;
		return;
	}
	/* Where two reasons meet, the library may give either. */
	PROP_EXPECT(err == expected || (err && expected && err != -ENOMEM),
		    "add slot: %d, not %d", err, expected);
	if (!err)
		g->slots[slot] = (struct model_slot){ true, r.page, r.pages };
}

void model_step_add(void)
{
	struct model_guest *g = model_live_guest();

	if (g)
		add_slot(g, model_below(MODEL_SLOTS), model_any_range(120));
}

void model_step_del(void)
{
	struct model_guest *g = model_live_guest();
	unsigned slot = model_below(MODEL_SLOTS);
	int err;

	if (!g)
		return;
	prop_note("del slot %u of guest %d", slot, (int)(g - model_run.guests));
	err = tf_guest_del_memslot(g->guest, slot);
	PROP_EXPECT(err == (g->slots[slot].used ? 0 : -ENOENT), "del slot: %d",
		    err);
	g->slots[slot].used = false;
}

void model_guest_create(struct model_guest *g)
{
	static const char *const domains[] = { NULL, "one", "one", "two" };
	struct tf_guest_opts o = { .size = sizeof(o),
				   .trust_domain = domains[model_below(4)] };
	int err = tf_guest_create(model_run.engine, &o, &g->guest);

	prop_note("create guest %d in domain %s", (int)(g - model_run.guests),
		  o.trust_domain ? o.trust_domain : "(its own)");
	PROP_EXPECT(!err, "create guest: %d", err);
	for (unsigned i = 0; i < MODEL_AREAS; i++)
		add_slot(g, i,
			 (struct model_range){ model_areas[i].page,
					       model_areas[i].pages });
}

void model_guest_forget(struct model_guest *g)
{
	g->guest = NULL;
	memset(g->slots, 0, sizeof(g->slots));
	memset(g->pins, 0, sizeof(g->pins));
}

void model_step_guest(void)
{
	struct model_guest *g = model_any_guest();

	if (!g->guest) {
		model_guest_create(g);
		return;
	}
	prop_note("destroy guest %d", (int)(g - model_run.guests));
	tf_guest_destroy(g->guest);
	model_guest_forget(g);
}
