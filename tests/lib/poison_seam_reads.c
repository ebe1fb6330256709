/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that read or write the bytes of pages and slots. */
#include "tests/lib/poison_seam_calls.h"

#include <errno.h>

#include "engine/fence.h"
#include "tests/lib/poison_trap.h"
#include "tests/lib/poison_victim.h"

#define REAL &tf_os_linux

static void expect_unread(bool lost, bool done, const char *what)
{
	if (lost && done && seam_is_on())
		prop_fail("a slot that is lost was read: %s", what);
}

static void before_hash(const void *page)
{
	if (seam_guests_page(page)) {
		if (!seam_due(POINT_HASH_GUEST))
			return;
		pthread_mutex_lock(&seam_engine()->lock);
		if (!victim_other(NULL, NULL))
			victim_private((char *)page);
		pthread_mutex_unlock(&seam_engine()->lock);
	} else if (seam_due(POINT_HASH_SLOT) && !victim_other(NULL, NULL)) {
		victim_bytes(page);
	}
}

static int seam_hash(const struct tf_os *os, const void *page,
		     const uint8_t *secret, uint64_t *hash)
{
	bool lost;
	int err;

	(void)os;
	if (seam_is_on())
		before_hash(page);
	lost = seam_is_on() && trap_has_bytes(page, TF_PAGE);
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
		victim_staged(p, oracle_home(seam_engine(), p), false);
	else
		victim_bytes(p);
}

static int seam_equal(const struct tf_os *os, const void *a, const void *b,
		      size_t len)
{
	bool lost;
	int err;

	(void)os;
	if (seam_is_on() && seam_due(POINT_EQUAL))
		before_equal(a, b);
	lost = seam_is_on() &&
	       (trap_has_bytes(a, len) || trap_has_bytes(b, len));
	if (lost && seam_mine.checking)
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
	if (seam_is_on() && victim_in_staging(from) &&
	    seam_due(POINT_COPY_BACK))
		victim_staged(from, seam_last.moved_to, false);
	else if (seam_is_on() && !victim_in_staging(from) &&
		 seam_due(POINT_COPY))
		before_copy(from);
	lost = seam_is_on() && trap_has_bytes(from, len);
	err = tf_os_linux.copy(REAL, to, from, len);
	expect_unread(lost, !err, "copy");
	return err;
}

static void before_write(const void *buf, size_t len)
{
	const char *p =
		(const char *)buf + victim_pick(len / TF_PAGE) * TF_PAGE;

	if (victim_in_staging(buf)) {
		if (seam_due(POINT_PROMOTE) && !victim_other(NULL, NULL))
			victim_staged(p, oracle_home(seam_engine(), p), true);
	} else if (seam_due(POINT_DONOR) && !victim_other(NULL, NULL)) {
		victim_bytes(p);
	}
}

static long seam_write_at(const struct tf_os *os, int fd, const void *buf,
			  size_t len, uint64_t off)
{
	bool lost;
	long done;

	(void)os;
	if (seam_is_on() && !seam_mine.injecting) {
		before_write(buf, len);
		PROP_EXPECT(!trap_has_file(fd, off, len),
			    "a lost slot is written");
	}
	lost = seam_is_on() && trap_has_bytes(buf, len);
	done = tf_os_linux.write_at(REAL, fd, buf, len, off);
	expect_unread(lost, done > 0, "donor");
	return done;
}

/* As the kernel answers for a page of a file that the hardware has lost. */
static long seam_read_at(const struct tf_os *os, int fd, void *buf, size_t len,
			 uint64_t off)
{
	(void)os;
	if (seam_is_on() && trap_has_file(fd, off, len))
		return -EIO;
	return tf_os_linux.read_at(REAL, fd, buf, len, off);
}

static int seam_punch(const struct tf_os *os, int fd, uint64_t off,
		      uint64_t len)
{
	(void)os;
	PROP_EXPECT(!seam_is_on() || !trap_has_known(fd, off, len),
		    "a slot in quarantine is punched");
	return tf_os_linux.punch(REAL, fd, off, len);
}

void seam_wrap_reads(struct tf_os *os)
{
	os->hash = seam_hash;
	os->equal = seam_equal;
	os->copy = seam_copy;
	os->write_at = seam_write_at;
	os->read_at = seam_read_at;
	os->punch = seam_punch;
}
