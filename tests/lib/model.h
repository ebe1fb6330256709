/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The plain model of guests: each has one stretch of host memory, a bank, and
 * a shadow copy of what it must hold, whatever the engine does with it. Parts
 * of the bank, the areas, are used; each spans a 2 MiB boundary of the host.
 * Memslots are cut from areas, at gpa = MODEL_GPA + offset in the bank.
 */
#ifndef TF_TESTS_MODEL_H
#define TF_TESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "twinfold/engine.h"

#define MODEL_GPA UINT64_C(0x100000)
#define MODEL_GUESTS 4
#define MODEL_AREAS 3
#define MODEL_SLOTS 6
#define MODEL_PINS 6
#define MODEL_BANK_PAGES 2048u
#define MODEL_CONTENTS 18u

struct model_area {
	unsigned page, pages; /* in the bank */
};

extern const struct model_area model_areas[MODEL_AREAS];

struct model_slot {
	bool used;
	unsigned page, pages;
};

struct model_pin {
	unsigned page, pages; /* pages 0: not used */
};

struct model_guest {
	struct tf_guest *guest; /* NULL: not known to the engine now */
	char *bank;             /* MODEL_BANK_PAGES pages */
	char *shadow;           /* as many */
	bool huge;              /* huge pages are allowed there */
	struct model_slot slots[MODEL_SLOTS];
	struct model_pin pins[MODEL_PINS];
};

/* Map bank and shadow; `huge`: let the kernel use huge pages. */
void model_open(struct model_guest *g, bool huge);
void model_close(struct model_guest *g);

/* The bytes of content `id`, below MODEL_CONTENTS: 0 is the zero page, the
 * last third differs from the others in a single byte. */
const char *model_content(unsigned id);

/* Which content it is, or -1. */
int model_find_content(const char *page);

static inline char *model_page(const struct model_guest *g, unsigned page)
{
	return g->bank + (size_t)page * TF_PAGE_SIZE;
}

static inline char *model_shadow(const struct model_guest *g, unsigned page)
{
	return g->shadow + (size_t)page * TF_PAGE_SIZE;
}

static inline uint64_t model_gpa(unsigned page)
{
	return MODEL_GPA + (uint64_t)page * TF_PAGE_SIZE;
}

/* Write to the guest's memory and to its shadow. */
void model_fill(struct model_guest *g, unsigned page, unsigned content);
/*
 * `content` but for a byte: different for each name, below 2^15, so that pages
 * of a name are equal and of different ones are not.
 */
void model_fill_named(struct model_guest *g, unsigned page, unsigned content,
		      unsigned name);

/*
 * The name of page `i` of a stretch of so many pages in which the first third
 * comes again, in order, with a unique page behind each.
 */
unsigned model_road_name(unsigned i, unsigned pages);

void model_poke(struct model_guest *g, unsigned page, unsigned offset,
		char value);

/* The pages read as zeros from now on. */
void model_discarded(struct model_guest *g, unsigned page, unsigned pages);

/* The first page of the areas that differs from its shadow, or -1. */
int model_compare(const struct model_guest *g);

/* Is [page, page + pages) wholly inside memslots? Does it touch a pin? */
bool model_backed(const struct model_guest *g, unsigned page, unsigned pages);
bool model_pinned(const struct model_guest *g, unsigned page, unsigned pages);

#endif
