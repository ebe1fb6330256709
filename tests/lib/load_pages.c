/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages with an owner. Stores are relaxed atomics: the engine reads guest
 * memory whenever it likes, and a compiler must not join or split them.
 */
#include "lib/load_pages.h"

#include <stdlib.h>
#include <string.h>

#include "lib/threads.h"

#define PAGE 4096u
#define WORDS (PAGE / sizeof(uint64_t))

void content_fill(void *page, unsigned no)
{
	uint64_t *p = page;

	for (size_t i = 0; i < WORDS; i++)
		p[i] = no ? no * UINT64_C(0x9e3779b97f4a7c15) + i : 0;
}

static uint64_t *word_at(char *base, size_t page, size_t word)
{
	return (uint64_t *)(base + page * PAGE) + word;
}

static void put(uint64_t *to, uint64_t value)
{
	__atomic_store_n(to, value, __ATOMIC_RELAXED);
}

static uint64_t get(const uint64_t *from)
{
	return __atomic_load_n(from, __ATOMIC_RELAXED);
}

void load_init(struct load *l, char *ram, size_t pages)
{
	*l = (struct load){ .ram = ram, .pages = pages };
	l->shadow = malloc(pages * PAGE);
	CHECK(l->shadow);
	for (size_t i = 0; i < pages; i++) {
		content_fill(l->shadow + i * PAGE, i % LOAD_CONTENTS);
		content_fill(ram + i * PAGE, i % LOAD_CONTENTS);
	}
}

void load_fini(struct load *l)
{
	free(l->shadow);
}

static void wrong(const struct load *l, size_t page)
{
	const uint64_t *is = word_at(l->ram, page, 0);
	const uint64_t *was = word_at(l->shadow, page, 0);
	unsigned bad = 0;
	size_t first = WORDS;

	for (size_t i = 0; i < WORDS; i++) {
		if (get(&is[i]) == was[i])
			continue;
		if (!bad++)
			first = i;
	}
	if (!bad)
		test_fail(
			"page %zu: wrong bytes that were right a moment later",
			page);
	test_fail("page %zu: %u wrong words, the first at %zu: %#llx instead "
		  "of %#llx; next to it %#llx (write %llu)",
		  page, bad, first, (unsigned long long)get(&is[first]),
		  (unsigned long long)was[first],
		  (unsigned long long)get(&is[first ^ 1]),
		  (unsigned long long)l->seq);
}

void load_verify(const struct load *l, size_t page)
{
	if (memcmp(l->ram + page * PAGE, l->shadow + page * PAGE, PAGE))
		wrong(l, page);
}

void load_verify_all(const struct load *l)
{
	for (size_t i = 0; i < l->pages; i++)
		load_verify(l, i);
}

void load_store(struct load *l, size_t page, size_t word)
{
	uint64_t *to = word_at(l->ram, page, word);
	uint64_t *shadow = word_at(l->shadow, page, word);

	if (get(to) != *shadow)
		wrong(l, page);
	*shadow = ++l->seq;
	put(to, l->seq);
	if (get(to) != l->seq)
		wrong(l, page);
	l->writes++;
}

void load_common(struct load *l, size_t page, unsigned no)
{
	uint64_t *shadow = word_at(l->shadow, page, 0);

	content_fill(shadow, no);
	for (size_t i = 0; i < WORDS; i++)
		put(word_at(l->ram, page, i), shadow[i]);
	l->writes++;
	load_verify(l, page);
}

void load_expect(struct load *l, size_t page, const void *bytes)
{
	memcpy(l->shadow + page * PAGE, bytes, PAGE);
	load_verify(l, page);
}

void load_visit(struct load *l, size_t page, unsigned stores, uint64_t *rng)
{
	load_verify(l, page);
	for (unsigned i = 0; i < stores; i++)
		load_store(l, page, test_random(rng) % WORDS);
	load_verify(l, page);
	if (test_random(rng) % 8)
		load_common(l, page, test_random(rng) % LOAD_CONTENTS);
}
