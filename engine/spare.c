/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools of spare pages. Owns region->spare. Caller holds the engine's lock. */
#include "engine/spare.h"

#include <sys/mman.h>

#include "engine/mapping.h"
#include "engine/state.h"

#define POOL_BYTES (TF_SPARE_PAGES * TF_PAGE)

void tf_spare_fini(struct tf_region *r)
{
	const struct tf_os *os = r->engine->os;

	if (r->spare.base)
		os->unmap(os, r->spare.base, POOL_BYTES);
	r->spare = (struct tf_spare){ 0 };
}

static int pool_renew(struct tf_region *r)
{
	const struct tf_os *os = r->engine->os;
	long base;
	int err;

	tf_spare_fini(r);
	base = os->map(os, NULL, POOL_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS |
			       tf_attrs_map_flags(&r->attrs),
		       -1, 0);
	if (base < 0)
		return (int)base;
	r->spare.base = (char *)base;
	err = tf_attrs_apply(os, &r->attrs, r->spare.base, POOL_BYTES);
	if (err)
		tf_spare_fini(r);
	return err;
}

int tf_spare_reserve(struct tf_region *r, unsigned n)
{
	if (!r->spare.base || r->spare.next + n > TF_SPARE_PAGES)
		return pool_renew(r);
	return 0;
}

int tf_spare_take(struct tf_region *r, unsigned n, char **ret)
{
	int err = tf_spare_reserve(r, n);

	if (err)
		return err;
	*ret = r->spare.base + r->spare.next * TF_PAGE;
	r->spare.next += n;
	return 0;
}

int tf_spare_place(struct tf_region *r, char *from, unsigned n, char *addr)
{
	const struct tf_os *os = r->engine->os;
	int err = os->remap_over(os, from, n * TF_PAGE, addr);

	if (err)
		return err;
	tf_watch(r, addr, n, true);
	return 0;
}
