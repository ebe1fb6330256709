/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real kernel seam: guarded reads of guest and store memory. A guard is
 * a jump buffer on this stack, armed for the length of one page's work. The
 * hash is xxHash's XXH3 with a secret of the store's own, so that a guest
 * cannot aim at collisions; it proposes, equal() decides.
 */
#include "engine/os_linux.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>
#if __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> /* the same hash, by the CPU's widest vectors */
#endif

#include "engine/guard.h"

static void guard_set(struct tf_guard *g, int i, const void *p, size_t len)
{
	g->lo[i] = (uintptr_t)p;
	g->hi[i] = (uintptr_t)p + len;
}

#define barrier() __asm__ volatile("" ::: "memory")

int tf_linux_hash(const struct tf_os *os, const void *page,
		  const uint8_t *secret, uint64_t *hash)
{
	struct tf_guard g = { 0 };
	uint64_t h;

	(void)os;
	guard_set(&g, 0, page, TF_PAGE);
	if (sigsetjmp(g.env, 0))
		return -EHWPOISON;
	tf_guard_armed = &g;
	barrier();
	h = XXH3_64bits_withSecret(page, TF_PAGE, secret, TF_SECRET_BYTES);
	barrier();
	tf_guard_armed = NULL;
	*hash = h;
	return 0;
}

int tf_linux_equal(const struct tf_os *os, const void *a, const void *b,
		   size_t len)
{
	struct tf_guard g = { 0 };
	int r;

	(void)os;
	guard_set(&g, 0, a, len);
	guard_set(&g, 1, b, len);
	if (sigsetjmp(g.env, 0))
		return -EHWPOISON;
	tf_guard_armed = &g;
	barrier();
	r = memcmp(a, b, len) == 0;
	barrier();
	tf_guard_armed = NULL;
	return r;
}

int tf_linux_copy(const struct tf_os *os, void *to, const void *from,
		  size_t len)
{
	struct tf_guard g = { 0 };

	(void)os;
	guard_set(&g, 0, from, len);
	if (sigsetjmp(g.env, 0))
		return -EHWPOISON;
	tf_guard_armed = &g;
	barrier();
	memcpy(to, from, len);
	barrier();
	tf_guard_armed = NULL;
	return 0;
}
