/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hash secrets and the 48 bits of a hash that a frame entry keeps. The hash
 * is XXH3-64 (xxHash 0.8) with a secret drawn at random for each store.
 */
#ifndef TF_ENGINE_HASH_H
#define TF_ENGINE_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/frame.h"
#include "engine/os.h"

/* Fill a store's secret from the kernel's random numbers. */
int tf_hash_secret(const struct tf_os *os, uint8_t secret[TF_SECRET_BYTES]);

static inline void tf_frame_set_hash(struct tf_frame *f, uint64_t hash)
{
	f->fresh.hash = (uint32_t)hash;
	f->tag = (uint16_t)(hash >> 32);
}

static inline bool tf_frame_has_hash(const struct tf_frame *f, uint64_t hash)
{
	return f->fresh.hash == (uint32_t)hash &&
	       f->tag == (uint16_t)(hash >> 32);
}

/* Do two hashes agree in the bits that a frame keeps? */
static inline bool tf_hash_is_like(uint64_t a, uint64_t b)
{
	return (a ^ b) << 16 == 0;
}

#endif
