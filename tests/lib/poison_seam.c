/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seam. What a wrapped call is about is found out from its arguments; the
 * plan says whether to lose it. All calls that a plan can name are made under
 * the engine's lock, but the hash of a guest's page, which is made under none.
 */
#include "tests/lib/poison_seam.h"

#include <errno.h>
#include <string.h>

#include "engine/chain.h"
#include "engine/fence.h"
#include "engine/store.h"
#include "tests/lib/poison_trap.h"
#include "tests/lib/poison_victim.h"

#define REAL &tf_os_linux

struct poison_seam poison_seam = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char *const names[POINTS] = {
	"hash of a guest's page",
	"hash of a slot",
	"comparison",
	"copy of a break",
	"copy back",
	"promotion",
	"copy of a donor",
	"map",
	"protect",
	"break",
	"move out",
	"move back",
};

const char *poison_point_name(enum poison_point point)
{
	return names[point];
}

/* What this thread does beside the engine's work. */
static __thread struct {
	const char *inject; /* the page that it injects, not yet met */
	bool injecting, staged, checking;
} mine;

/* The slot mapping made last. Under the engine's lock. */
static struct {
	const char *addr;
	const struct tf_store *store;
	uint32_t slot;
	const char *moved_to;
} last;

static struct tf_engine *engine(void)
{
	return poison_seam.oracle.e;
}

static bool due(enum poison_point point)
{
	struct poison_seam *p = &poison_seam;
	bool now = false;

	if (!atomic_load(&p->on) || mine.injecting || mine.checking)
		return false;
	pthread_mutex_lock(&p->lock);
	p->calls[point]++;
	if (p->budget && p->point == point) {
		now = !p->countdown;
		p->countdown -= !now;
		p->budget -= now;
	}
	p->fired[point] += now;
	pthread_mutex_unlock(&p->lock);
	if (now)
		prop_note("  a page is lost at a %s", names[point]);
	return now;
}

static bool is_on(void)
{
	return atomic_load(&poison_seam.on);
}

static void expect_unread(bool lost, bool done, const char *what)
{
	if (lost && done && is_on())
		prop_fail("a slot that is lost was read: %s", what);
}

static bool guests_page(const void *p)
{
	struct fate_page at;

	return fates_find(poison_seam.oracle.fates, p, &at);
}

static void before_hash(const void *page)
{
	if (guests_page(page)) {
		if (!due(POINT_HASH_GUEST))
			return;
		pthread_mutex_lock(&engine()->lock);
		if (!victim_other(NULL, NULL))
			victim_private((char *)page);
		pthread_mutex_unlock(&engine()->lock);
	} else if (due(POINT_HASH_SLOT) && !victim_other(NULL, NULL)) {
		victim_bytes(page);
	}
}

static int seam_hash(const struct tf_os *os, const void *page,
		     const uint8_t *secret, uint64_t *hash)
{
	bool lost;
	int err;

	(void)os;
	if (is_on())
		before_hash(page);
	lost = is_on() && trap_has_bytes(page, TF_PAGE);
	err = tf_os_linux.hash(REAL, page, secret, hash);
	expect_unread(lost, !err, "hash");
	return err;
}

static void before_equal(const void *a, const void *b)
{
	const void *p = victim_pick(2) ? a : b;

	if (victim_other(NULL, NULL))
		return;
	if (victim_in_staging(p))
		victim_staged(p, oracle_home(engine(), p), false);
	else
		victim_bytes(p);
}

static int seam_equal(const struct tf_os *os, const void *a, const void *b,
		      size_t len)
{
	bool lost;
	int err;

	(void)os;
	if (is_on() && due(POINT_EQUAL))
		before_equal(a, b);
	lost = is_on() && (trap_has_bytes(a, len) || trap_has_bytes(b, len));
	if (lost && mine.checking)
		return -EHWPOISON;
	err = tf_os_linux.equal(REAL, a, b, len);
	expect_unread(lost, err >= 0, "comparison");
	return err;
}

/* Another page's slot: it may be one of this run, and be copied already. */
static void before_copy(const void *from)
{
	bool other;

	poison_seam.oracle.copying = true;
	other = victim_other(NULL, NULL);
	poison_seam.oracle.copying = false;
	if (!other)
		victim_bytes(from);
}

static int seam_copy(const struct tf_os *os, void *to, const void *from,
		     size_t len)
{
	bool lost;
	int err;

	(void)os;
	if (is_on() && victim_in_staging(from) && due(POINT_COPY_BACK))
		victim_staged(from, last.moved_to, false);
	else if (is_on() && !victim_in_staging(from) && due(POINT_COPY))
		before_copy(from);
	lost = is_on() && trap_has_bytes(from, len);
	err = tf_os_linux.copy(REAL, to, from, len);
	expect_unread(lost, !err, "copy");
	return err;
}

static void before_write(const void *buf, size_t len)
{
	const char *p =
		(const char *)buf + victim_pick(len / TF_PAGE) * TF_PAGE;

	if (victim_in_staging(buf)) {
		if (due(POINT_PROMOTE) && !victim_other(NULL, NULL))
			victim_staged(p, oracle_home(engine(), p), true);
	} else if (due(POINT_DONOR) && !victim_other(NULL, NULL)) {
		victim_bytes(p);
	}
}

static long seam_write_at(const struct tf_os *os, int fd, const void *buf,
			  size_t len, uint64_t off)
{
	bool lost;
	long done;

	(void)os;
	if (is_on() && !mine.injecting) {
		before_write(buf, len);
		PROP_EXPECT(!trap_has_file(fd, off, len),
			    "a lost slot is written");
	}
	lost = is_on() && trap_has_bytes(buf, len);
	done = tf_os_linux.write_at(REAL, fd, buf, len, off);
	expect_unread(lost, done > 0, "donor");
	return done;
}

/* As the kernel answers for a page of a file that the hardware has lost. */
static long seam_read_at(const struct tf_os *os, int fd, void *buf, size_t len,
			 uint64_t off)
{
	(void)os;
	if (is_on() && trap_has_file(fd, off, len))
		return -EIO;
	return tf_os_linux.read_at(REAL, fd, buf, len, off);
}

static int seam_punch(const struct tf_os *os, int fd, uint64_t off,
		      uint64_t len)
{
	(void)os;
	PROP_EXPECT(!is_on() || !trap_has_known(fd, off, len),
		    "a slot in quarantine is punched");
	return tf_os_linux.punch(REAL, fd, off, len);
}

/* tf_ras_inject() makes its first trap: the tables are true just now. */
static void meet_inject(int fd, uint64_t off)
{
	const char *addr = mine.inject;
	const struct tf_engine *e = engine();
	const struct tf_store *s = fd >= 0 ? victim_store(fd) : NULL;
	uint32_t slot = (uint32_t)(off / TF_PAGE);

	mine.inject = NULL;
	if (!s) {
		oracle_private(&poison_seam.oracle, addr,
			       mine.staged && !memcmp(e->staging, e->zero_page,
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
	if (due(POINT_MAP) && !victim_other(NULL, NULL))
		victim_slot(s, slot + victim_pick((unsigned)(len / TF_PAGE)),
			    NULL, NULL, NULL);
	last.addr = addr;
	last.store = s;
	last.slot = slot;
}

static long seam_map(const struct tf_os *os, void *addr, size_t len, int prot,
		     int flags, int fd, uint64_t off)
{
	(void)os;
	if (!addr && mine.inject)
		meet_inject(fd, off);
	if (!addr || fd < 0 || !is_on())
		return tf_os_linux.map(REAL, addr, len, prot, flags, fd, off);
	before_map(addr, len, fd, off);
	return trap_map(REAL, addr, len, prot, flags, fd, off);
}

static int seam_protect(const struct tf_os *os, int uffd, void *addr,
			size_t len, bool on)
{
	(void)os;
	if (is_on() && on && uffd == engine()->uffd_merged &&
	    addr == last.addr && due(POINT_PROTECT)) {
		unsigned i = victim_pick((unsigned)(len / TF_PAGE));

		victim_slot(last.store, last.slot + i, NULL, NULL,
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
	if (is_on() && guests_page(to) && !mine.injecting && due(POINT_BREAK) &&
	    !victim_other(to, end))
		victim_frame((char *)to + victim_pick(n) * TF_PAGE, to, end);
	return tf_os_linux.remap_over(REAL, from, len, to);
}

static bool move_is_refused(const void *to)
{
	struct poison_seam *p = &poison_seam;
	bool refused;

	last.moved_to = to;
	pthread_mutex_lock(&p->lock);
	refused = p->budget && p->point == POINT_COPY_BACK && !mine.injecting;
	pthread_mutex_unlock(&p->lock);
	return refused;
}

static long seam_move(const struct tf_os *os, int uffd, void *to, void *from,
		      size_t len)
{
	unsigned i = is_on() ? victim_pick((unsigned)(len / TF_PAGE)) : 0;
	bool out = is_on() && victim_in_staging(to),
	     back = is_on() && victim_in_staging(from);
	long moved;

	(void)os;
	if (out && due(POINT_MOVE_OUT) && !victim_other(NULL, NULL))
		victim_private((char *)from + i * TF_PAGE);
	if (back && move_is_refused(to))
		return -EBUSY;
	if (back && due(POINT_MOVE_BACK) && !victim_other(NULL, NULL))
		victim_staged((char *)from + i * TF_PAGE,
			      (char *)to + i * TF_PAGE, false);
	moved = tf_os_linux.uffd_move(REAL, uffd, to, from, len);
	mine.staged |= mine.injecting && out && moved > 0;
	return moved;
}

static long seam_pagemap(const struct tf_os *os, int fd, const void *addr,
			 uint64_t *entries, size_t n)
{
	long got = tf_os_linux.pagemap_read(REAL, fd, addr, entries, n);

	(void)os;
	if (is_on() && got > 0)
		trap_hide(addr, entries, (size_t)got);
	return got;
}

/* ---- for the test ---- */

void poison_seam_init(struct fates *f)
{
	struct poison_seam *p = &poison_seam;

	p->os = tf_os_linux;
	p->os.hash = seam_hash;
	p->os.equal = seam_equal;
	p->os.copy = seam_copy;
	p->os.write_at = seam_write_at;
	p->os.read_at = seam_read_at;
	p->os.punch = seam_punch;
	p->os.map = seam_map;
	p->os.uffd_protect = seam_protect;
	p->os.remap_over = seam_remap_over;
	p->os.uffd_move = seam_move;
	p->os.pagemap_read = seam_pagemap;
	p->oracle.fates = f;
	p->budget = 0;
}

void poison_seam_begin(struct tf_engine *e)
{
	poison_seam.oracle.e = e;
	trap_begin(e);
	atomic_store(&poison_seam.on, true);
}

void poison_seam_end(void)
{
	atomic_store(&poison_seam.on, false);
}

void poison_seam_arm(enum poison_point point, unsigned countdown,
		     unsigned budget, uint64_t seed)
{
	pthread_mutex_lock(&poison_seam.lock);
	poison_seam.point = point;
	poison_seam.countdown = countdown;
	poison_seam.budget = budget;
	poison_seam.rng.state = seed;
	pthread_mutex_unlock(&poison_seam.lock);
}

void poison_seam_disarm(void)
{
	pthread_mutex_lock(&poison_seam.lock);
	poison_seam.budget = 0;
	pthread_mutex_unlock(&poison_seam.lock);
}

void poison_seam_check(struct tf_engine *e, const char *when)
{
	pthread_mutex_lock(&e->lock);
	trap_learn_known();
	pthread_mutex_unlock(&e->lock);
	mine.checking = true;
	prop_check_engine(e, when);
	mine.checking = false;
}

int poison_seam_inject(struct tf_engine *e, struct tf_guest *g, uint64_t gpa,
		       const char *addr)
{
	int err;

	mine.injecting = true;
	mine.staged = false;
	mine.inject = addr;
	err = tf_ras_inject(e, g, gpa, TF_INJECT_SIM);
	mine.injecting = false;
	mine.inject = NULL;
	return err;
}
