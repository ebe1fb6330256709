/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The secret is expanded from 64 random bytes by xxHash's own generator. */
#include "engine/hash.h"

#include <errno.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

int tf_hash_secret(const struct tf_os *os, uint8_t secret[TF_SECRET_BYTES])
{
	uint8_t seed[64];
	int err = os->random(os, seed, sizeof(seed));

	if (err)
		return err;
	if (XXH3_generateSecret(secret, TF_SECRET_BYTES, seed, sizeof(seed)) !=
	    XXH_OK)
		return -EIO;
	return 0;
}
