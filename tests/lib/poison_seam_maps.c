/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that move pages and change mappings. */
#include "tests/lib/poison_seam_calls.h"

#include <errno.h>
#include <string.h>

#include "engine/fence.h"
#include "engine/store.h"
#include "tests/lib/poison_trap.h"
#include "tests/lib/poison_victim.h"

#define REAL &tf_os_linux

/* tf_ras_inject() makes its first trap: the tables are true just now. */
static void meet_inject(int fd, uint64_t off)
{
	const char *addr = seam_mine.inject;
	const struct tf_engine *e = seam_engine();
	const struct tf_store *s = fd >= 0 ? victim_store(fd) : NULL;
	uint32_t slot = (uint32_t)(off / TF_PAGE);

	seam_mine.inject = NULL;
	if (!s) {
		oracle_private(&poison_seam.oracle, addr,
			       seam_mine.staged &&
				       !memcmp(e->staging, e->zero_page,
					       TF_PAGE));
		return;
	}
	if (!trap_note(s, slot))
		return;
	oracle_slot(&poison_seam.oracle, s, slot, NULL, NULL);
	if (!poison_seam.oracle.cow_heals)
		trap_lay(s, slot, NULL);
}

static void before_map(const char *addr, size_t len, int fd, uint64_t off)
{
	const struct tf_store *s = victim_store(fd);
	uint32_t slot = (uint32_t)(off / TF_PAGE);

	for (unsigned i = 0; i < len / TF_PAGE; i++)
		oracle_source(&poison_seam.oracle, s, slot + i);
	if (seam_due(POINT_MAP) && !victim_other(NULL, NULL))
		victim_slot(s, slot + victim_pick((unsigned)(len / TF_PAGE)),
			    NULL, NULL, NULL);
	seam_last.addr = addr;
	seam_last.store = s;
	seam_last.slot = slot;
}

static long seam_map(const struct tf_os *os, void *addr, size_t len, int prot,
		     int flags, int fd, uint64_t off)
{
	(void)os;
	if (!addr && seam_mine.inject)
		meet_inject(fd, off);
	if (!addr || fd < 0 || !seam_is_on())
		return tf_os_linux.map(REAL, addr, len, prot, flags, fd, off);
	before_map(addr, len, fd, off);
	return trap_map(REAL, addr, len, prot, flags, fd, off);
}

static int seam_protect(const struct tf_os *os, int uffd, void *addr,
			size_t len, bool on)
{
	(void)os;
	if (seam_is_on() && on && uffd == seam_engine()->uffd_merged &&
	    addr == seam_last.addr && seam_due(POINT_PROTECT)) {
		unsigned i = victim_pick((unsigned)(len / TF_PAGE));

		victim_slot(seam_last.store, seam_last.slot + i, NULL, NULL,
			    (char *)addr + i * TF_PAGE);
	}
	return tf_os_linux.uffd_protect(REAL, uffd, addr, len, on);
}

static int seam_remap_over(const struct tf_os *os, void *from, size_t len,
			   void *to)
{
	char *end = (char *)to + len;
	unsigned n = (unsigned)(len / TF_PAGE);

	(void)os;
	if (seam_is_on() && seam_guests_page(to) && !seam_mine.injecting &&
	    seam_due(POINT_BREAK) && !victim_other(to, end))
		victim_frame((char *)to + victim_pick(n) * TF_PAGE, to, end);
	return tf_os_linux.remap_over(REAL, from, len, to);
}

static bool move_is_refused(const void *to)
{
	struct poison_seam *p = &poison_seam;
	bool refused;

	seam_last.moved_to = to;
	pthread_mutex_lock(&p->lock);
	refused = p->budget && p->point == POINT_COPY_BACK &&
		  !seam_mine.injecting;
	pthread_mutex_unlock(&p->lock);
	return refused;
}

static long seam_move(const struct tf_os *os, int uffd, void *to, void *from,
		      size_t len)
{
	unsigned i = seam_is_on() ? victim_pick((unsigned)(len / TF_PAGE)) : 0;
	bool out = seam_is_on() && victim_in_staging(to),
	     back = seam_is_on() && victim_in_staging(from);
	long moved;

	(void)os;
	if (out && seam_due(POINT_MOVE_OUT) && !victim_other(NULL, NULL))
		victim_private((char *)from + i * TF_PAGE);
	if (back && move_is_refused(to))
		return -EBUSY;
	if (back && seam_due(POINT_MOVE_BACK) && !victim_other(NULL, NULL))
		victim_staged((char *)from + i * TF_PAGE,
			      (char *)to + i * TF_PAGE, false);
	moved = tf_os_linux.uffd_move(REAL, uffd, to, from, len);
	seam_mine.staged |= seam_mine.injecting && out && moved > 0;
	return moved;
}

static long seam_pagemap(const struct tf_os *os, int fd, const void *addr,
			 uint64_t *entries, size_t n)
{
	long got = tf_os_linux.pagemap_read(REAL, fd, addr, entries, n);

	(void)os;
	if (seam_is_on() && got > 0)
		trap_hide(addr, entries, (size_t)got);
	return got;
}

void seam_wrap_maps(struct tf_os *os)
{
	os->map = seam_map;
	os->uffd_protect = seam_protect;
	os->remap_over = seam_remap_over;
	os->uffd_move = seam_move;
	os->pagemap_read = seam_pagemap;
}
