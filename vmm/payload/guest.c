/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest side of the checking workload. It is compiled twice: freestanding
 * for a vCPU, and into the library for a thread. So it calls nothing but
 * tf_gw_in() and tf_gw_out(), keeps its state on its stack and in guest RAM,
 * and does no 64-bit division.
 *
 * A page's content follows from (owner, id, generation, tail) in the page
 * table: three head words, a body cut from a tape, and the tail. A check
 * compares all 1024 words. Nobody but this guest writes to its pages, so
 * there is nothing to lock.
 */
#include <stdbool.h>

#include "vmm/payload/guest.h"

/*
 * Kinds come in runs of RUN_PAGES pages, PATTERN_RUNS runs to a pattern. The
 * last run of each pattern is worked on in phase RUN; of those pages the
 * first HOT_PAGES get frequent small writes, the others are rewritten in turn
 * and change their kind.
 */
#define RUN_PAGES 16
#define PATTERN_RUNS 8
#define PATTERN_PAGES (RUN_PAGES * PATTERN_RUNS)
#define COMMON_RUN 3 /* the first of COMMON_RUNS */
#define COMMON_RUNS 3
#define ZERO_RUN 6
#define WORK_RUN 7
#define HOT_PAGES RUN_PAGES
#define HOT_EVERY 4
#define MOVE_EVERY 16

struct gw {
	const struct tf_gw_config *cfg;
	struct tf_gw_mailbox *box;
	struct tf_gw_page *table;
	uint32_t pages;
	uint32_t stamp;      /* generations handed out */
	uint32_t cursor;     /* the next page to check */
	uint32_t hot, moved; /* writes of each sort in phase RUN */
};

static void *at(uint64_t va)
{
	return (void *)(uintptr_t)va;
}

static void copy_words(uint32_t *to, const uint32_t *from, uintptr_t n)
{
	__asm__ volatile("rep movsl"
			 : "+D"(to), "+S"(from), "+c"(n)
			 :
			 : "memory");
}

static void zero_words(uint32_t *to, uintptr_t n)
{
	__asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(0) : "memory");
}

/* How many leading words are equal; n is not 0. */
static uint32_t equal_words(const uint32_t *a, const uint32_t *b, uint32_t n)
{
	uintptr_t left = n;
	bool same;

	__asm__ volatile("repe cmpsl"
			 : "=@cce"(same), "+S"(a), "+D"(b), "+c"(left)
			 :
			 : "memory");
	return same ? n : n - (uint32_t)left - 1;
}

/* How many leading words are zero; n is not 0. */
static uint32_t leading_zeros(const uint32_t *a, uint32_t n)
{
	uintptr_t left = n;
	bool same;

	__asm__ volatile("repe scasl"
			 : "=@cce"(same), "+D"(a), "+c"(left)
			 : "a"(0)
			 : "memory");
	return same ? n : n - (uint32_t)left - 1;
}

/* Marsaglia's xorshift32, from "Xorshift RNGs" (2003). */
static void make_tape(uint32_t *tape, uint32_t owner)
{
	uint32_t x = owner * 2654435761u + 2463534242u;

	for (uint32_t i = 0; i < TF_GW_TAPE_BYTES / 4; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		tape[i] = x;
	}
}

static uint32_t page_gpa(const struct gw *w, uint32_t i)
{
	const struct tf_gw_seg *seg = w->cfg->seg;

	if (i < seg[0].pages)
		return seg[0].gpa + i * 4096;
	return seg[1].gpa + (i - seg[0].pages) * 4096;
}

static uint32_t *page_va(const struct gw *w, uint32_t i)
{
	const struct tf_gw_seg *seg = w->cfg->seg;

	if (i < seg[0].pages)
		return at(seg[0].va + i * UINT64_C(4096));
	return at(seg[1].va + (i - seg[0].pages) * UINT64_C(4096));
}

/* ---- contents ---- */

static uint32_t owner(const struct gw *w, const struct tf_gw_page *e)
{
	return e->kind == TF_GW_COMMON ? 0 : w->cfg->guest;
}

static const uint32_t *body(const struct gw *w, const struct tf_gw_page *e)
{
	const uint32_t *tape = at(w->cfg->tape[owner(w, e) != 0]);

	return tape + (e->id * 37 + e->gen * 101) % TF_GW_OFFSETS;
}

static void write_page(struct gw *w, uint32_t i)
{
	const struct tf_gw_page *e = &w->table[i];
	uint32_t *p = page_va(w, i);

	if (e->kind == TF_GW_ZERO) {
		zero_words(p, TF_GW_LAST);
	} else {
		p[0] = owner(w, e);
		p[1] = e->id;
		p[2] = e->gen;
		copy_words(p + TF_GW_HEAD, body(w, e), TF_GW_BODY);
	}
	p[TF_GW_LAST] = e->tail;
	w->box->writes++;
}

/* `group` matters for a common page only. */
static void rewrite(struct gw *w, uint32_t i, uint32_t kind, uint32_t group)
{
	struct tf_gw_page *e = &w->table[i];

	e->kind = kind;
	e->id = kind == TF_GW_COMMON ? group % w->cfg->groups : i;
	e->gen = kind == TF_GW_UNIQUE ? ++w->stamp : 0;
	e->tail = 0;
	write_page(w, i);
}

/* One word: every other byte of the page has to survive it. */
static void touch(struct gw *w, uint32_t i)
{
	page_va(w, i)[TF_GW_LAST] = ++w->table[i].tail;
	w->box->writes++;
}

/* ---- checks ---- */

static uint32_t expected(const struct gw *w, uint32_t i, uint32_t word)
{
	const struct tf_gw_page *e = &w->table[i];

	if (word == TF_GW_LAST)
		return e->tail;
	if (e->kind == TF_GW_ZERO)
		return 0;
	switch (word) {
	case 0:
		return owner(w, e);
	case 1:
		return e->id;
	case 2:
		return e->gen;
	default:
		return body(w, e)[word - TF_GW_HEAD];
	}
}

/* The first wrong word of a page, or TF_GW_WORDS. */
static uint32_t first_wrong(const struct gw *w, uint32_t i)
{
	const struct tf_gw_page *e = &w->table[i];
	const uint32_t *p = page_va(w, i);
	uint32_t word = 0;

	if (e->kind == TF_GW_ZERO) {
		word = leading_zeros(p, TF_GW_LAST);
	} else {
		while (word < TF_GW_HEAD && p[word] == expected(w, i, word))
			word++;
		if (word == TF_GW_HEAD)
			word += equal_words(p + word, body(w, e), TF_GW_BODY);
	}
	if (word == TF_GW_LAST && p[word] == e->tail)
		word++;
	return word;
}

static void check(struct gw *w, uint32_t i)
{
	uint32_t word = first_wrong(w, i), diff;

	w->box->checks++;
	if (word == TF_GW_WORDS)
		return;
	w->box->failures++;
	diff = page_va(w, i)[word] ^ expected(w, i, word);
	/* If the word is right by now, its first byte stands for it. */
	tf_gw_out(w->cfg, TF_GW_PORT_BAD,
		  page_gpa(w, i) + word * 4 +
			  (diff ? (uint32_t)__builtin_ctz(diff) / 8 : 0));
}

/* ---- phases ---- */

static uint32_t sync(struct gw *w)
{
	return tf_gw_in(w->cfg, TF_GW_PORT_SYNC);
}

/* Called for every page of a long loop; false: the host wants the end. */
static bool go_on(struct gw *w, uint32_t i)
{
	return i % TF_GW_BATCH || sync(w) != TF_GW_DONE;
}

static void fill(struct gw *w)
{
	for (uint32_t i = 0; i < w->pages && go_on(w, i); i++) {
		uint32_t run = i / RUN_PAGES % PATTERN_RUNS;
		uint32_t group = i / PATTERN_PAGES * COMMON_RUNS * RUN_PAGES +
				 i % PATTERN_PAGES - COMMON_RUN * RUN_PAGES;

		if (run == ZERO_RUN)
			rewrite(w, i, TF_GW_ZERO, 0);
		else if (run >= COMMON_RUN && run < COMMON_RUN + COMMON_RUNS)
			rewrite(w, i, TF_GW_COMMON, group);
		else
			rewrite(w, i, TF_GW_UNIQUE, 0);
		w->box->filled++;
	}
}

static void overwrite(struct gw *w)
{
	for (uint32_t i = 0; i < w->pages && go_on(w, i); i++) {
		if (w->table[i].kind == TF_GW_UNIQUE)
			continue;
		if (i % 2)
			rewrite(w, i, TF_GW_UNIQUE, 0);
		else
			touch(w, i);
	}
}

/* The n-th page that phase RUN works on. */
static uint32_t work_page(uint32_t n)
{
	return n / RUN_PAGES * PATTERN_PAGES + WORK_RUN * RUN_PAGES +
	       n % RUN_PAGES;
}

static void work(struct gw *w)
{
	uint32_t movable = w->pages / PATTERN_PAGES * RUN_PAGES - HOT_PAGES;

	if (w->cursor % HOT_EVERY == 0)
		touch(w, work_page(w->hot++ % HOT_PAGES));
	if (w->cursor % MOVE_EVERY == 0) {
		uint32_t i = work_page(HOT_PAGES + w->moved++ % movable);

		check(w, i);
		rewrite(w, i, (w->table[i].kind + 1) % TF_GW_KINDS, w->moved);
	}
}

static void sweep(struct gw *w)
{
	for (uint32_t n = 0; n < TF_GW_BATCH; n++) {
		check(w, w->cursor);
		if (w->box->phase == TF_GW_RUN)
			work(w);
		if (++w->cursor == w->pages) {
			w->cursor = 0;
			w->box->rounds[w->box->phase]++;
		}
	}
}

static void enter(struct gw *w, uint32_t phase)
{
	w->box->ready = 0;
	w->box->phase = phase;
	w->cursor = 0;
	if (phase == TF_GW_FILL)
		fill(w);
	else if (phase == TF_GW_OVERWRITE)
		overwrite(w);
	w->box->ready = 1;
}

void tf_gw_main(const struct tf_gw_config *cfg)
{
	struct gw w = {
		.cfg = cfg,
		.box = at(cfg->mailbox),
		.table = at(cfg->table),
		.pages = cfg->seg[0].pages + cfg->seg[1].pages,
	};
	uint32_t wanted;

	make_tape(at(cfg->tape[0]), 0);
	make_tape(at(cfg->tape[1]), cfg->guest);
	while ((wanted = sync(&w)) != TF_GW_DONE) {
		if (wanted != w.box->phase)
			enter(&w, wanted);
		else if (wanted >= TF_GW_RUN)
			sweep(&w);
	}
	enter(&w, TF_GW_DONE);
	sync(&w);
}
