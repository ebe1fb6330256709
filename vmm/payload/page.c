/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guest's pages hold, and the check. A page's content follows from
 * (owner, id, generation, tail) in the page table: three head words, a body
 * cut from a tape, and the tail. A check compares all 1024 words. No 64-bit
 * division: there is no library for it in a 32-bit guest.
 */
#include "vmm/payload/program.h"

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

void tf_gw_make_tapes(const struct tf_gw_config *cfg)
{
	make_tape(tf_gw_at(cfg->tape[0]), 0);
	make_tape(tf_gw_at(cfg->tape[1]), cfg->guest);
}

uint32_t tf_gw_page_gpa(const struct gw *w, uint32_t i)
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
		return tf_gw_at(seg[0].va + i * UINT64_C(4096));
	return tf_gw_at(seg[1].va + (i - seg[0].pages) * UINT64_C(4096));
}

/* ---- contents ---- */

static uint32_t owner(const struct gw *w, const struct tf_gw_page *e)
{
	return e->kind == TF_GW_COMMON ? 0 : w->cfg->guest;
}

static const uint32_t *body(const struct gw *w, const struct tf_gw_page *e)
{
	const uint32_t *tape = tf_gw_at(w->cfg->tape[owner(w, e) != 0]);

	return tape + (e->id * 37 + e->gen * 101) % TF_GW_OFFSETS;
}

static uint32_t id_of(const struct gw *w, uint32_t i, uint32_t kind,
		      uint32_t group)
{
	if (kind == TF_GW_COMMON)
		return group % w->cfg->groups;
	return kind == TF_GW_TWIN ? pattern_twin(i) : i;
}

void tf_gw_assign(struct gw *w, uint32_t i, uint32_t kind, uint32_t group)
{
	struct tf_gw_page *e = &w->table[i];

	/* tf_work_page() reads them meanwhile. */
	__atomic_store_n(&e->kind, kind, __ATOMIC_RELAXED);
	__atomic_store_n(&e->id, id_of(w, i, kind, group), __ATOMIC_RELAXED);
	e->gen = kind == TF_GW_UNIQUE ? ++w->stamp : 0;
	e->tail = 0;
}

void tf_gw_write(struct gw *w, uint32_t i)
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

/* Every other byte of the page has to survive it. */
void tf_gw_touch(struct gw *w, uint32_t i)
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

static void count_wrong_bytes(struct gw *w, uint32_t i)
{
	const uint32_t *p = page_va(w, i);

	for (uint32_t word = 0; word < TF_GW_WORDS; word++)
		for (uint32_t diff = p[word] ^ expected(w, i, word); diff;
		     diff >>= 8)
			w->box->wrong_bytes += (diff & 255) != 0;
}

/* Counters only grow: a smaller one is from before a write. */
static bool is_older(const struct gw *w, uint32_t i, uint32_t word)
{
	const uint32_t *p = page_va(w, i);

	if (word == TF_GW_LAST)
		return p[word] < w->table[i].tail;
	return word == 2 && p[word] < w->table[i].gen;
}

static void report(struct gw *w, uint32_t i, uint32_t word)
{
	uint32_t diff = page_va(w, i)[word] ^ expected(w, i, word);

	w->box->failures++;
	w->box->lost_writes += is_older(w, i, word);
	count_wrong_bytes(w, i);
	/* If the word is right by now, its first byte stands for it. */
	tf_gw_out(w->cfg, TF_GW_PORT_BAD,
		  tf_gw_page_gpa(w, i) + word * 4 +
			  (diff ? (uint32_t)__builtin_ctz(diff) / 8 : 0));
}

void tf_gw_check(struct gw *w, uint32_t i)
{
	uint32_t word = first_wrong(w, i);

	if (word < TF_GW_WORDS) {
		/* It may be about to hear that the page is lost. */
		tf_gw_in(w->cfg, TF_GW_PORT_PENDING);
		if (tf_gw_is_lost(w, i))
			return;
		report(w, i, word);
	}
	w->box->checks++;
}
