/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fixed bitmap of 512 bits: one bit a page of a 2 MiB block. No locking.
 */
#ifndef TF_BASE_BITMAP_H
#define TF_BASE_BITMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TF_BITS 512u
#define TF_WORDS (TF_BITS / 64)

struct tf_bits {
	uint64_t word[TF_WORDS];
};

static inline bool tf_bit(const struct tf_bits *b, unsigned i)
{
	return b->word[i / 64] >> (i % 64) & 1;
}

static inline void tf_bit_set(struct tf_bits *b, unsigned i)
{
	b->word[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void tf_bit_clear(struct tf_bits *b, unsigned i)
{
	b->word[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* Set bits [from, to). */
static inline void tf_bits_set_range(struct tf_bits *b, unsigned from,
				     unsigned to)
{
	for (unsigned i = from; i < to; i++)
		tf_bit_set(b, i);
}

static inline bool tf_bits_empty(const struct tf_bits *b)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < TF_WORDS; i++)
		any |= b->word[i];
	return !any;
}

static inline void tf_bits_zero(struct tf_bits *b)
{
	memset(b, 0, sizeof(*b));
}

/* The first set bit at or after `from`, or TF_BITS. */
static inline unsigned tf_bits_next(const struct tf_bits *b, unsigned from)
{
	while (from < TF_BITS) {
		uint64_t w = b->word[from / 64] >> (from % 64);

		if (w)
			return from + (unsigned)__builtin_ctzll(w);
		from = (from | 63) + 1;
	}
	return TF_BITS;
}

#define tf_bits_for_each(i, b)                                                 \
	for (unsigned i = tf_bits_next(b, 0); i < TF_BITS;                     \
	     i = tf_bits_next(b, i + 1))

#endif
