/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second implementation of the kernel seam (engine/os.h): the real one,
 * with faults. It counts calls by kind, makes a chosen one fail, or calls the
 * test at the very moment of a call.
 *
 * A callback runs in the engine's thread, often with the engine's lock held:
 * it must not touch guest memory itself, but let another thread do it.
 */
#ifndef TF_TESTS_OS_FAULT_H
#define TF_TESTS_OS_FAULT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/os.h"

enum fault_kind {
	FAULT_MAP,
	FAULT_UNMAP,
	FAULT_REMAP_OVER,
	FAULT_REMAP_AWAY,
	FAULT_ADVISE,
	FAULT_DROP,
	FAULT_BIND,
	FAULT_POLICY,
	FAULT_NAME,
	FAULT_NODE,
	FAULT_MEMFD,
	FAULT_WRITE_AT,
	FAULT_PUNCH,
	FAULT_UFFD_OPEN,
	FAULT_UFFD_REGISTER,
	FAULT_UFFD_UNREGISTER,
	FAULT_UFFD_WAKE,
	FAULT_UFFD_PROTECT,
	FAULT_UFFD_MOVE,
	FAULT_UFFD_ZEROPAGE,
	FAULT_UFFD_POISON,
	FAULT_UFFD_READ,
	FAULT_PAGEMAP_OPEN,
	FAULT_PAGEMAP_SCAN,
	FAULT_PAGEMAP_READ,
	FAULT_POLL,
	FAULT_EVENTFD,
	FAULT_SIGNAL,
	FAULT_DRAIN,
	FAULT_CLOSE,
	FAULT_RANDOM,
	FAULT_READ_FILE,
	FAULT_NOW_NS,
	FAULT_HASH,
	FAULT_EQUAL,
	FAULT_COPY,
	FAULT_KINDS,
	FAULT_ANY = FAULT_KINDS, /* counted over all kinds */
};

/* How a call fails. */
enum fault_how {
	FAULT_CLEAN, /* nothing has happened */
	FAULT_GONE,  /* MAP_FIXED, mremap: what was mapped there is gone */
	FAULT_SHORT, /* write_at, move, zeropage: only a part was done */
	FAULT_DONE,  /* move: all was done, but the last page is not counted
		      * (a bug of Linux 6.18) */
};

typedef void fault_at_fn(void *user, enum fault_kind kind, unsigned index);

/* Of unmappings that were made to fail: the test's to undo. */
#define FAULT_LEAKS 64

struct os_fault {
	struct tf_os os; /* hand its address to tf_engine_create_os() */

	/* Calls seen; the last entry is the sum. */
	atomic_uint calls[FAULT_KINDS + 1];
	atomic_uint failed; /* of those, made to fail */

	/* Protects everything below. */
	pthread_mutex_t lock;

	/* Fail calls [fail_at, fail_at + fail_for) of a kind, -fail_err. */
	enum fault_kind fail_kind;
	enum fault_how how;
	unsigned fail_at, fail_for;
	int fail_err;
	bool paused;

	/* Call at() before every call of a kind in thread at_thread. */
	fault_at_fn *at;
	void *at_user;
	enum fault_kind at_kind;
	pthread_t at_thread;
	unsigned at_index;

	unsigned nleaks;
	struct {
		void *addr;
		size_t len;
	} leak[FAULT_LEAKS];
};

#define FAULT_FOR_EVER (~0u)

/* The real kernel, no fault, all counts 0. */
void os_fault_init(struct os_fault *f);

/* From now on let `n` calls of `kind` fail, beginning with number `at`. */
void os_fault_set(struct os_fault *f, enum fault_kind kind, unsigned at,
		  unsigned n, int err, enum fault_how how);

/* No more faults. Counts stay. */
void os_fault_clear(struct os_fault *f);

/* Neither count nor fail, while the test itself uses the seam. */
void os_fault_pause(struct os_fault *f, bool on);

/* Call `at` before every call of this thread; FAULT_ANY: of whatever kind. */
void os_fault_watch(struct os_fault *f, enum fault_kind kind, fault_at_fn *at,
		    void *user);
void os_fault_unwatch(struct os_fault *f);

/* Undo what failed unmappings left. */
void os_fault_mend(struct os_fault *f);

const char *os_fault_name(enum fault_kind kind);

#endif
