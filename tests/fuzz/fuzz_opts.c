/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sized structs: whatever size a caller's struct claims to have, nothing
 * outside of it is read or written, and the result is what opts.h promises.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/opts.h"
#include "twinfold/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int cond)
{
	if (!cond)
		abort();
}

/* A caller's struct, no byte longer than it says. */
static char *theirs_make(const uint8_t *data, size_t len, size_t *size)
{
	char *p;

	memcpy(size, data, sizeof(*size));
	if (*size > 8192)
		*size %= 8192;
	p = calloc(1, *size > sizeof(size_t) ? *size : sizeof(size_t));
	require(p != NULL);
	memcpy(p, data, len < *size ? len : *size);
	memcpy(p, size, sizeof(*size));
	return p;
}

static void copy_in(const char *theirs, size_t size)
{
	struct tf_engine_opts o;
	char before[sizeof(o)], after[sizeof(o)];
	int err;

	memset(&o, 0, sizeof(o));
	tf_engine_opts_init(&o);
	memcpy(before, &o, sizeof(o));
	err = tf_opts_copy(&o, sizeof(o), theirs);
	memcpy(after, &o, sizeof(o));
	require(err == 0 || err == -EINVAL);
	require(o.size == sizeof(o));
	if (err)
		require(memcmp(after, before, sizeof(o)) == 0);
	else
		require(size >= sizeof(size_t) && size <= 4096);
	if (!err && size < sizeof(o))
		require(memcmp(after + size, before + size, sizeof(o) - size) ==
			0);
}

static void copy_out(char *theirs, size_t size)
{
	struct tf_stats s;
	int err;

	memset(&s, 0x5a, sizeof(s));
	s.size = sizeof(s);
	err = tf_opts_export(theirs, &s, sizeof(s));
	require(err == 0 || err == -EINVAL);
	require(memcmp(theirs, &size, sizeof(size)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t size;
	char *theirs;

	if (len < sizeof(size))
		return 0;
	theirs = theirs_make(data, len, &size);
	copy_in(theirs, size);
	copy_out(theirs, size);
	free(theirs);
	return 0;
}
