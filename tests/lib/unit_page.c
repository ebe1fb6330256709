/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages and frames of a unit test's world: contents, entries, mappings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/store.h"
#include "lib/unit_world.h"

#define WORDS (TF_PAGE / sizeof(uint64_t))

/* Word i of content `seed`; xorshift of both, so that no two pages agree. */
static uint64_t word(uint64_t seed, unsigned i)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + i;

	x ^= x >> 31;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	return seed ? x ^ x >> 29 : 0;
}

void unit_fill(char *page, uint64_t seed)
{
	for (unsigned i = 0; i < WORDS; i++)
		((uint64_t *)page)[i] = word(seed, i);
}

void unit_assert_page(const char *page, uint64_t seed)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (((const uint64_t *)page)[i] != word(seed, i))
			fail_msg("word %u of %p is not content %llu", i,
				 (const void *)page, (unsigned long long)seed);
}

void unit_fill_run(char *base, unsigned n, uint64_t seed)
{
	for (unsigned i = 0; i < n; i++)
		unit_fill(base + i * TF_PAGE, seed + i);
}

void unit_assert_run(const char *base, unsigned n, uint64_t seed)
{
	for (unsigned i = 0; i < n; i++)
		unit_assert_page(base + i * TF_PAGE, seed + i);
}

struct unit_spot unit_spot(struct unit *u, const char *addr)
{
	struct unit_spot s = { 0 };
	struct tf_region *r;

	pthread_mutex_lock(&u->e->lock);
	r = tf_region_at(u->e, addr);
	s.b = r ? tf_block_find(r, tf_region_block_of(r, addr)) : NULL;
	if (s.b) {
		s.page = tf_region_page_of(r, addr);
		s.f = &s.b->frames[s.page];
		s.was = *s.f;
		s.pending = tf_bit(&s.b->pending, s.page);
	}
	pthread_mutex_unlock(&u->e->lock);
	return s;
}

struct tf_dup unit_dup(struct unit *u, const char *addr)
{
	struct unit_spot s = unit_spot(u, addr);
	struct tf_dup d = { 0 };

	pthread_mutex_lock(&u->e->lock);
	if (s.f && s.f->state == TF_FRAME_SHARED)
		d = *tf_dup_get(u->e, s.f->shared.dup);
	pthread_mutex_unlock(&u->e->lock);
	return d;
}

enum tf_frame_state unit_state(struct unit *u, const char *addr)
{
	return (enum tf_frame_state)unit_spot(u, addr).was.state;
}

void unit_assert_fresh(struct unit *u, const char *addr)
{
	const struct tf_frame fresh = { .state = TF_FRAME_NEW };
	struct unit_spot s = unit_spot(u, addr);
	struct tf_frame f;

	assert_non_null(s.f);
	f = s.was;
	f.history = 0;
	f.vain = 0;
	f.flags &= (uint8_t) ~(TF_FRAME_FOREIGN | TF_FRAME_BORDER) & 15;
	assert_memory_equal(&f, &fresh, sizeof(f));
	assert_true(s.pending);
}

void unit_assert_waits_a_pass(struct unit *u, const char *addr)
{
	unit_pass(u);
	assert_int_equal(unit_state(u, addr), TF_FRAME_NEW);
	for (int i = 0; i < 8 && unit_state(u, addr) == TF_FRAME_NEW; i++)
		unit_pass(u);
	assert_int_equal(unit_state(u, addr), TF_FRAME_SHARED);
}

/* The smaps entry of the mapping at `addr`, up to its last line. */
static char *smaps_entry(const void *addr, char **text)
{
	char *line;

	assert_int_equal(tf_os_linux.read_file(&tf_os_linux, "/proc/self/smaps",
					       text),
			 0);
	for (line = *text; line; line = strchr(line, '\n')) {
		unsigned long start, end;

		line += *line == '\n';
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 &&
		    (uintptr_t)addr >= start && (uintptr_t)addr < end)
			return line;
	}
	fail_msg("nothing is mapped at %p", addr);
	return NULL;
}

void unit_flags(const void *addr, const char *without, char flags[128])
{
	char *text, *at = strstr(smaps_entry(addr, &text), "VmFlags: ");
	size_t len = 0;

	assert_non_null(at);
	for (at += 9; *at != '\n' && len + 4 < 128; at += 3) {
		char flag[4] = { at[0], at[1], ' ', '\0' };

		if (!strstr(without, flag)) {
			memcpy(flags + len, flag, 3);
			len += 3;
		}
	}
	flags[len] = '\0';
	free(text);
}

static unsigned long number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	assert_non_null(at);
	return strtoul(at + strlen(key), NULL, 10);
}

unsigned long unit_smaps(const void *addr, const char *key)
{
	char *text;
	unsigned long n = number_after(smaps_entry(addr, &text), key);

	free(text);
	return n;
}

unsigned long unit_status(const char *key)
{
	unsigned long n;
	char *text;

	assert_int_equal(tf_os_linux.read_file(&tf_os_linux,
					       "/proc/self/status", &text),
			 0);
	n = number_after(text, key);
	free(text);
	return n;
}

uint64_t unit_store_blocks(const struct tf_engine *e)
{
	const struct tf_store *s;
	uint64_t blocks = 0;

	tf_list_for_each(s, &e->stores, link) {
		struct stat st;

		assert_int_equal(fstat(s->fd, &st), 0);
		blocks += (uint64_t)st.st_blocks;
	}
	return blocks;
}

void unit_skip(const char *why)
{
	printf("skip: %s\n", why);
	fflush(stdout);
	skip();
}
