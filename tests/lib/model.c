/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plain model. Knows nothing of the engine but its page size. */
#include "tests/lib/model.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/lib/prop.h"

#define PAGE TF_PAGE_SIZE
#define BLOCK_PAGES 512u
#define BANK_BYTES ((size_t)MODEL_BANK_PAGES * PAGE)
#define NEAR (MODEL_CONTENTS / 3)

/* The bank begins on a 2 MiB boundary, areas do not. */
const struct model_area model_areas[MODEL_AREAS] = {
	{ 2 * BLOCK_PAGES - 90, 180 },
	{ 3 * BLOCK_PAGES - 5, 60 },
	{ BLOCK_PAGES + 17, 40 },
};

static char contents[MODEL_CONTENTS][PAGE];

static void contents_make(void)
{
	static const unsigned odd[] = { 0, PAGE / 2, PAGE - 1 };

	for (unsigned id = 1; id < MODEL_CONTENTS - NEAR; id++) {
		struct prop_rng r = { .state = id };

		for (unsigned i = 0; i < PAGE; i += sizeof(uint64_t)) {
			uint64_t word = prop_next(&r);

			memcpy(&contents[id][i], &word, sizeof(word));
		}
	}
	for (unsigned i = 0; i < NEAR; i++) {
		char *page = contents[MODEL_CONTENTS - NEAR + i];

		memcpy(page, contents[i], PAGE);
		page[odd[i % 3]] ^= 1;
	}
}

/* Several threads fill memory. */
const char *model_content(unsigned id)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, contents_make);
	return contents[id];
}

int model_find_content(const char *page)
{
	for (unsigned id = 0; id < MODEL_CONTENTS; id++)
		if (memcmp(page, contents[id], PAGE) == 0)
			return (int)id;
	return -1;
}

static char *map_pages(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		prop_fail("no memory for a guest");
	return p;
}

/* Aligned to 2 MiB: map more, give back what sticks out. */
static char *map_aligned(size_t bytes)
{
	const size_t align = BLOCK_PAGES * PAGE;
	char *p = map_pages(bytes + align);
	char *q = (char *)(((uintptr_t)p + align - 1) & ~(align - 1));

	if (q > p)
		munmap(p, (size_t)(q - p));
	munmap(q + bytes, align - (size_t)(q - p));
	return q;
}

void model_open(struct model_guest *g, bool huge)
{
	memset(g, 0, sizeof(*g));
	g->bank = map_aligned(BANK_BYTES);
	g->shadow = map_pages(BANK_BYTES);
	g->huge = huge;
	madvise(g->bank, BANK_BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void model_close(struct model_guest *g)
{
	munmap(g->bank, BANK_BYTES);
	munmap(g->shadow, BANK_BYTES);
	memset(g, 0, sizeof(*g));
}

void model_fill(struct model_guest *g, unsigned page, unsigned content)
{
	const char *bytes = model_content(content);

	memcpy(model_shadow(g, page), bytes, PAGE);
	memcpy(model_page(g, page), bytes, PAGE);
}

void model_fill_named(struct model_guest *g, unsigned page, unsigned content,
		      unsigned name)
{
	char bytes[PAGE];

	memcpy(bytes, model_content(content), PAGE);
	bytes[name % PAGE] ^= (char)(0x40 | (1 + name / PAGE));
	memcpy(model_shadow(g, page), bytes, PAGE);
	memcpy(model_page(g, page), bytes, PAGE);
}

unsigned model_road_name(unsigned i, unsigned pages)
{
	unsigned third = pages / 3;

	return i < third || (i - third) % 2 ? i : (i - third) / 2;
}

void model_poke(struct model_guest *g, unsigned page, unsigned offset,
		char value)
{
	model_shadow(g, page)[offset] = value;
	*(volatile char *)(model_page(g, page) + offset) = value;
}

void model_discarded(struct model_guest *g, unsigned page, unsigned pages)
{
	memset(model_shadow(g, page), 0, (size_t)pages * PAGE);
}

int model_compare(const struct model_guest *g)
{
	for (unsigned a = 0; a < MODEL_AREAS; a++) {
		unsigned page = model_areas[a].page;
		unsigned end = page + model_areas[a].pages;

		for (; page < end; page++)
			if (memcmp(model_page(g, page), model_shadow(g, page),
				   PAGE) != 0)
				return (int)page;
	}
	return -1;
}

static bool slot_has(const struct model_slot *s, unsigned page)
{
	return s->used && page >= s->page && page < s->page + s->pages;
}

bool model_backed(const struct model_guest *g, unsigned page, unsigned pages)
{
	for (unsigned p = page; p < page + pages; p++) {
		bool found = false;

		for (unsigned i = 0; i < MODEL_SLOTS; i++)
			found |= slot_has(&g->slots[i], p);
		if (!found)
			return false;
	}
	return true;
}

bool model_pinned(const struct model_guest *g, unsigned page, unsigned pages)
{
	for (unsigned i = 0; i < MODEL_PINS; i++)
		if (page < g->pins[i].page + g->pins[i].pages &&
		    g->pins[i].page < page + pages)
			return true;
	return false;
}
