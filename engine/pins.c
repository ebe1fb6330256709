/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pin registry: a list of ranges per guest. I/O in flight is a few
 * hundred ranges at most, and only merging asks.
 */
#include "engine/pins.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/state.h"

bool tf_pinned_range(const struct tf_guest *g, uint64_t gpa, uint64_t bytes)
{
	for (size_t i = 0; i < g->npins; i++)
		if (g->pins[i].gpa < gpa + bytes &&
		    gpa < g->pins[i].gpa + g->pins[i].bytes)
			return true;
	return false;
}

bool tf_pinned(const struct tf_block *b, unsigned page)
{
	const struct tf_region *r = b->region;

	if (!r->guest->npins)
		return false;
	return tf_pinned_range(
		r->guest, tf_region_gpa(r, tf_frame_addr(b, page)), TF_PAGE);
}

int tf_pin_add(struct tf_guest *g, uint64_t gpa, uint64_t bytes)
{
	if (g->npins == g->cap_pins) {
		size_t cap = g->cap_pins ? 2 * g->cap_pins : 16;
		struct tf_pin *more = realloc(g->pins, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		g->pins = more;
		g->cap_pins = cap;
	}
	g->pins[g->npins++] = (struct tf_pin){ .gpa = gpa, .bytes = bytes };
	return 0;
}

int tf_pin_remove(struct tf_guest *g, uint64_t gpa, uint64_t bytes)
{
	for (size_t i = 0; i < g->npins; i++) {
		if (g->pins[i].gpa != gpa || g->pins[i].bytes != bytes)
			continue;
		g->pins[i] = g->pins[--g->npins];
		return 0;
	}
	return -ENOENT;
}
