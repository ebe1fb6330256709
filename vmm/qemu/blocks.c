/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RAM blocks: what QEMU names by MADV_MERGEABLE, and which of them are the
 * engine's. A block is given to the engine when nothing has been done to it
 * for a moment: QEMU names it first and sets its attributes then.
 *
 * Blocks lie one after the other in the engine's guest addresses, in the order
 * in which they were named. Small ones (ROMs, firmware) are left out.
 *
 * One lock protects the table. The bounds of all blocks are read without it,
 * so that calls that have nothing to do with guest RAM do not take it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "vmm/qemu/preload.h"

#define SMALLEST (2u << 20)
#define QUIET_MS 200
#define MS 1000000u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tq_block blocks[TQ_BLOCKS_MAX]; /* under lock */
static unsigned nblocks;                      /* likewise */
static uint64_t next_gpa;                     /* likewise */
static atomic_uintptr_t lowest = UINTPTR_MAX, highest;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uintptr_t end_of(const void *addr, size_t len)
{
	uintptr_t end = (uintptr_t)addr + len;

	return end < (uintptr_t)addr ? UINTPTR_MAX : end;
}

bool tq_block_touches(const struct tq_block *b, const void *addr, size_t len)
{
	return b->state != TQ_BLOCK_NONE &&
	       (uintptr_t)b->start < end_of(addr, len) &&
	       (uintptr_t)addr < (uintptr_t)b->start + b->bytes;
}

bool tq_blocks_enter(const void *addr, size_t len)
{
	int saved = errno;

	if (!tq_life() || end_of(addr, len) <= atomic_load(&lowest) ||
	    (uintptr_t)addr >= atomic_load(&highest))
		return false;
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nblocks; i++)
		if (tq_block_touches(&blocks[i], addr, len)) {
			tq_inside = true;
			return true;
		}
	pthread_mutex_unlock(&lock);
	errno = saved;
	return false;
}

void tq_blocks_leave(void)
{
	int saved = errno;

	tq_inside = false;
	pthread_mutex_unlock(&lock);
	errno = saved;
}

struct tq_block *tq_block_get(unsigned i)
{
	return &blocks[i];
}

unsigned tq_blocks_count(void)
{
	return nblocks;
}

static uint32_t slot_of(const struct tq_block *b)
{
	return (uint32_t)(b - blocks);
}

void tq_block_detach(struct tq_block *b)
{
	uint64_t begin = now_ns(), ms;

	if (b->state == TQ_BLOCK_MERGING)
		tf_guest_del_memslot(tq_life()->guest, slot_of(b));
	ms = (now_ns() - begin) / MS;
	if (ms >= 100)
		tq_say(TF_LOG_NOTICE,
		       "giving %zu MiB of guest RAM back took %llu ms",
		       b->bytes >> 20, (unsigned long long)ms);
	b->state = TQ_BLOCK_WAITING;
	b->retry_ns = now_ns() + (uint64_t)QUIET_MS * MS;
	b->reason[0] = '\0';
}

void tq_block_refuse(struct tq_block *b, unsigned ms, const char *why)
{
	/* For good is for good, and said once. */
	if (b->state == TQ_BLOCK_REFUSED && !b->retry_ns)
		return;
	tq_block_detach(b);
	b->state = TQ_BLOCK_REFUSED;
	b->retry_ns = ms ? now_ns() + (uint64_t)ms * MS : 0;
	snprintf(b->reason, sizeof(b->reason), "%s", why);
	tq_say(TF_LOG_NOTICE, "guest RAM at %p (%zu MiB) is left alone: %s",
	       (void *)b->start, b->bytes >> 20, why);
}

/* A number that is free: slots of the engine are named after it. */
static struct tq_block *block_new(void)
{
	for (unsigned i = 0; i < nblocks; i++)
		if (blocks[i].state == TQ_BLOCK_NONE)
			return &blocks[i];
	return nblocks < TQ_BLOCKS_MAX ? &blocks[nblocks++] : NULL;
}

static void widen(const struct tq_block *b)
{
	uintptr_t start = (uintptr_t)b->start;

	if (start < atomic_load(&lowest))
		atomic_store(&lowest, start);
	if (start + b->bytes > atomic_load(&highest))
		atomic_store(&highest, start + b->bytes);
}

static void block_add(char *addr, size_t len)
{
	struct tq_block *b = block_new();

	if (!b) {
		tq_say(TF_LOG_WARNING,
		       "guest RAM at %p is left alone: there are %u blocks",
		       (void *)addr, TQ_BLOCKS_MAX);
		return;
	}
	*b = (struct tq_block){ .state = TQ_BLOCK_WAITING,
				.start = addr,
				.bytes = len,
				.gpa = next_gpa,
				.retry_ns =
					now_ns() + (uint64_t)QUIET_MS * MS };
	next_gpa += len;
	widen(b);
}

/* QEMU names a part of a block again when it was mapped anew. */
void tq_blocks_name(char *addr, size_t len)
{
	bool known = false;

	if (len < SMALLEST)
		return;
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nblocks; i++)
		known |= tq_block_touches(&blocks[i], addr, len);
	if (!known)
		block_add(addr, len);
	pthread_mutex_unlock(&lock);
	tq_scan_wake();
}

static int add_memslot(const struct tq_block *b, char *why, size_t size)
{
	int err;

	tq_say_last(why, size);
	/* It was said before, and may be tried for long. */
	tq_say_quiet(b->state == TQ_BLOCK_REFUSED);
	err = tf_guest_add_memslot(tq_life()->guest, slot_of(b), b->gpa,
				   b->start, b->bytes);
	tq_say_quiet(false);
	tq_say_last(why, size);
	if (err && !why[0])
		snprintf(why, size, "%s", strerror(-err));
	if (err && b->state == TQ_BLOCK_REFUSED && strcmp(why, b->reason) != 0)
		tq_say(TF_LOG_WARNING, "%s", why);
	return err;
}

static void attach(struct tq_block *b)
{
	int err;
	char why[sizeof(b->reason)];

	if (tq_life_idle()) {
		tq_block_refuse(b, 0, tq_life_idle());
		return;
	}
	err = add_memslot(b, why, sizeof(why));
	if (!err) {
		b->state = TQ_BLOCK_MERGING;
		b->reason[0] = '\0';
		tq_say(TF_LOG_INFO, "guest RAM at %p: %zu MiB, gpa %#llx",
		       (void *)b->start, b->bytes >> 20,
		       (unsigned long long)b->gpa);
		return;
	}
	b->state = TQ_BLOCK_REFUSED;
	/* Another userfaultfd of QEMU's may come to its end. */
	b->retry_ns = strstr(why, "userfaultfd") ? now_ns() + 2000ull * MS : 0;
	snprintf(b->reason, sizeof(b->reason), "%s", why);
}

unsigned tq_blocks_attach(unsigned ms)
{
	uint64_t now = now_ns(), next = now + (uint64_t)ms * MS;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nblocks; i++) {
		struct tq_block *b = &blocks[i];

		if (b->state != TQ_BLOCK_WAITING &&
		    (b->state != TQ_BLOCK_REFUSED || !b->retry_ns))
			continue;
		if (b->retry_ns <= now)
			attach(b);
		else if (b->retry_ns < next)
			next = b->retry_ns;
	}
	pthread_mutex_unlock(&lock);
	return (unsigned)((next - now) / MS) + 1;
}

bool tq_blocks_gpa(const void *hva, uint64_t *ret)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nblocks && !found; i++) {
		found = tq_block_touches(&blocks[i], hva, 1);
		if (found)
			*ret = blocks[i].gpa +
			       (uint64_t)((const char *)hva - blocks[i].start);
	}
	pthread_mutex_unlock(&lock);
	return found;
}

void tq_blocks_each(void (*each)(const struct tq_block *, void *), void *arg)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nblocks; i++)
		if (blocks[i].state != TQ_BLOCK_NONE)
			each(&blocks[i], arg);
	pthread_mutex_unlock(&lock);
}
