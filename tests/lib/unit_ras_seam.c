/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel seam of the healing tests. */
#include "lib/unit_ras_seam.h"

#include <errno.h>
#include <string.h>

#include "engine/store.h"

struct ras_seam ras_seam;

bool ras_seam_take(atomic_uint *n)
{
	unsigned have = atomic_load(n);

	while (have && !atomic_compare_exchange_weak(n, &have, have - 1))
		;
	return have;
}

/* The healer's next stop point waits until the other thread had the lock. */
static void call_other(void)
{
	if (atomic_load(&ras_seam.nth) && ras_seam_take(&ras_seam.nth) &&
	    !atomic_load(&ras_seam.nth)) {
		atomic_fetch_add(&ras_seam.e->urgent, 1);
		assert_int_equal(pthread_create(&ras_seam.thread, NULL,
						ras_seam.other,
						ras_seam.other_arg),
				 0);
	}
}

static bool is_lost(uint64_t off)
{
	for (unsigned i = 0; i < atomic_load(&ras_seam.nlost); i++)
		if (ras_seam.lost_off[i] == off)
			return true;
	return false;
}

static void lose_mapped(uint64_t off)
{
	unsigned n = atomic_load(&ras_seam.nlost);

	if (n == RAS_SEAM_LOST || is_lost(off) ||
	    !ras_seam_take(&ras_seam.lose_mapped))
		return;
	ras_seam.lost_off[n] = off;
	atomic_store(&ras_seam.nlost, n + 1);
}

long ras_seam_map(const struct tf_os *os, void *addr, size_t len, int prot,
		  int flags, int fd, uint64_t off)
{
	if (addr && fd >= 0) {
		call_other();
		lose_mapped(off);
	}
	if (addr && addr == ras_seam.victim &&
	    ras_seam_take(&ras_seam.map_fails))
		return -ENOMEM;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static long write_refused(const struct tf_os *os, int fd, const void *buf,
			  size_t len, uint64_t off)
{
	int err = (int)atomic_load(&ras_seam.write_errno);

	ras_seam.fresh_off = off;
	return err ? -err : tf_os_linux.write_at(os, fd, buf, len, off);
}

static int hash_poisoned(const struct tf_os *os, const void *page,
			 const uint8_t *secret, uint64_t *hash)
{
	const struct tf_store *s;

	if (atomic_load(&ras_seam.lose_all))
		return -EHWPOISON;
	if (atomic_load(&ras_seam.lose_fresh))
		tf_list_for_each(s, &ras_seam.e->stores, link)
			if ((const char *)page == s->map + ras_seam.fresh_off)
				return -EHWPOISON;
	if (atomic_load(&ras_seam.nlost))
		tf_list_for_each(s, &ras_seam.e->stores, link)
			if (is_lost((uint64_t)((const char *)page - s->map)))
				return -EHWPOISON;
	return tf_os_linux.hash(os, page, secret, hash);
}

void ras_seam_set(struct unit_ras *w)
{
	memset(&ras_seam, 0, sizeof(ras_seam));
	w->u.os.map = ras_seam_map;
	w->u.os.write_at = write_refused;
	w->u.os.hash = hash_poisoned;
}

void ras_seam_open(struct unit_ras *w, unsigned max, unsigned pages)
{
	ras_init(w, max);
	ras_seam_set(w);
	ras_open(w, pages);
	ras_seam.e = w->u.e;
	ras_merge_all(w);
}
