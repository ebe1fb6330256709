/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The faulty seam. Every function asks gate() first, which counts the call,
 * runs the test's callback, and says whether to fail. Its lock is never held
 * during a system call or a callback.
 */
#include "tests/lib/os_fault.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/list.h"

static const char *const names[FAULT_KINDS + 1] = {
	"map",          "unmap",        "remap_over",    "remap_away",
	"advise",       "drop",         "bind",          "policy",
	"name",         "node",         "memfd",         "write_at",
	"punch",        "uffd_open",    "uffd_register", "uffd_unregister",
	"uffd_wake",    "uffd_protect", "uffd_move",     "uffd_zeropage",
	"uffd_poison",  "uffd_read",    "pagemap_open",  "pagemap_scan",
	"pagemap_read", "poll",         "eventfd",       "signal",
	"drain",        "close",        "random",        "read_file",
	"now_ns",       "hash",         "equal",         "copy",
	"any",
};

const char *os_fault_name(enum fault_kind kind)
{
	return names[kind];
}

static struct os_fault *fault_of(const struct tf_os *os)
{
	return tf_container_of(os, struct os_fault, os);
}

static bool matches(enum fault_kind want, enum fault_kind kind)
{
	return want == kind || want == FAULT_ANY;
}

static bool fails(const struct os_fault *f, enum fault_kind kind, unsigned nth)
{
	return matches(f->fail_kind, kind) && nth >= f->fail_at &&
	       nth - f->fail_at < f->fail_for;
}

static void call_back(struct os_fault *f, enum fault_kind kind)
{
	fault_at_fn *at = NULL;
	void *user = NULL;
	unsigned index = 0;

	pthread_mutex_lock(&f->lock);
	if (f->at && matches(f->at_kind, kind) &&
	    pthread_equal(f->at_thread, pthread_self())) {
		at = f->at;
		user = f->at_user;
		index = f->at_index++;
	}
	pthread_mutex_unlock(&f->lock);
	if (at)
		at(user, kind, index);
}

/* 0, or the negative errno to fail with; *how says in which way. */
static int gate(const struct tf_os *os, enum fault_kind kind,
		enum fault_how *how)
{
	struct os_fault *f = fault_of(os);
	unsigned nth, nth_any;
	int err = 0;

	call_back(f, kind);
	pthread_mutex_lock(&f->lock);
	*how = f->how;
	if (!f->paused) {
		nth = atomic_fetch_add(&f->calls[kind], 1);
		nth_any = atomic_fetch_add(&f->calls[FAULT_ANY], 1);
		if (fails(f, kind, f->fail_kind == FAULT_ANY ? nth_any : nth))
			err = -f->fail_err;
	}
	pthread_mutex_unlock(&f->lock);
	if (err)
		atomic_fetch_add(&f->failed, 1);
	return err;
}

/* Functions that either work or do nothing. */
#define SIMPLE(type, kind, name, params, ...)                                  \
	static type fault_##name params                                        \
	{                                                                      \
		enum fault_how how;                                            \
		int err = gate(os, kind, &how);                                \
                                                                               \
		return err ? err : tf_os_linux.name(__VA_ARGS__);              \
	}

#define REAL &tf_os_linux

SIMPLE(int, FAULT_ADVISE, advise,
       (const struct tf_os *os, void *addr, size_t len, int advice), REAL, addr,
       len, advice)
SIMPLE(long, FAULT_REMAP_AWAY, remap_away,
       (const struct tf_os *os, void *from, size_t len), REAL, from, len)
SIMPLE(int, FAULT_DROP, drop,
       (const struct tf_os *os, const struct iovec *vec, unsigned n), REAL, vec,
       n)
SIMPLE(int, FAULT_BIND, bind,
       (const struct tf_os *os, void *addr, size_t len, int mode,
	const unsigned long *nodes, unsigned long maxnode),
       REAL, addr, len, mode, nodes, maxnode)
SIMPLE(int, FAULT_POLICY, policy,
       (const struct tf_os *os, void *addr, int *mode, unsigned long *nodes,
	unsigned long maxnode),
       REAL, addr, mode, nodes, maxnode)
SIMPLE(int, FAULT_NAME, name,
       (const struct tf_os *os, void *addr, size_t len, const char *name), REAL,
       addr, len, name)
SIMPLE(int, FAULT_NODE, node, (const struct tf_os *os, void *addr), REAL, addr)
SIMPLE(int, FAULT_MEMFD, memfd,
       (const struct tf_os *os, const char *name, uint64_t bytes), REAL, name,
       bytes)
SIMPLE(int, FAULT_PUNCH, punch,
       (const struct tf_os *os, int fd, uint64_t off, uint64_t len), REAL, fd,
       off, len)
SIMPLE(int, FAULT_UFFD_OPEN, uffd_open,
       (const struct tf_os *os, enum tf_uffd_kind kind), REAL, kind)
SIMPLE(int, FAULT_UFFD_REGISTER, uffd_register,
       (const struct tf_os *os, int uffd, void *addr, size_t len, int mode),
       REAL, uffd, addr, len, mode)
SIMPLE(int, FAULT_UFFD_UNREGISTER, uffd_unregister,
       (const struct tf_os *os, int uffd, void *addr, size_t len), REAL, uffd,
       addr, len)
SIMPLE(int, FAULT_UFFD_WAKE, uffd_wake,
       (const struct tf_os *os, int uffd, void *addr, size_t len), REAL, uffd,
       addr, len)
SIMPLE(int, FAULT_UFFD_PROTECT, uffd_protect,
       (const struct tf_os *os, int uffd, void *addr, size_t len, bool on),
       REAL, uffd, addr, len, on)
SIMPLE(int, FAULT_UFFD_POISON, uffd_poison,
       (const struct tf_os *os, int uffd, void *addr, size_t len), REAL, uffd,
       addr, len)
SIMPLE(int, FAULT_UFFD_READ, uffd_read,
       (const struct tf_os *os, int uffd, struct uffd_msg *msg, unsigned n),
       REAL, uffd, msg, n)
SIMPLE(int, FAULT_PAGEMAP_OPEN, pagemap_open, (const struct tf_os *os), REAL)
SIMPLE(long, FAULT_PAGEMAP_SCAN, pagemap_scan,
       (const struct tf_os *os, int fd, struct tf_scan *scan), REAL, fd, scan)
SIMPLE(long, FAULT_PAGEMAP_READ, pagemap_read,
       (const struct tf_os *os, int fd, const void *addr, uint64_t *entries,
	size_t n),
       REAL, fd, addr, entries, n)
SIMPLE(int, FAULT_POLL, poll,
       (const struct tf_os *os, struct pollfd *fds, unsigned n, int timeout_ms),
       REAL, fds, n, timeout_ms)
SIMPLE(int, FAULT_EVENTFD, eventfd, (const struct tf_os *os), REAL)
SIMPLE(int, FAULT_SIGNAL, signal, (const struct tf_os *os, int eventfd), REAL,
       eventfd)
SIMPLE(int, FAULT_DRAIN, drain, (const struct tf_os *os, int eventfd), REAL,
       eventfd)
SIMPLE(int, FAULT_RANDOM, random,
       (const struct tf_os *os, void *buf, size_t len), REAL, buf, len)
SIMPLE(int, FAULT_READ_FILE, read_file,
       (const struct tf_os *os, const char *path, char **text), REAL, path,
       text)
SIMPLE(int, FAULT_HASH, hash,
       (const struct tf_os *os, const void *page, const uint8_t *secret,
	uint64_t *hash),
       REAL, page, secret, hash)
SIMPLE(int, FAULT_EQUAL, equal,
       (const struct tf_os *os, const void *a, const void *b, size_t len), REAL,
       a, b, len)
SIMPLE(int, FAULT_COPY, copy,
       (const struct tf_os *os, void *to, const void *from, size_t len), REAL,
       to, from, len)

static long fault_map(const struct tf_os *os, void *addr, size_t len, int prot,
		      int flags, int fd, uint64_t off)
{
	enum fault_how how;
	int err = gate(os, FAULT_MAP, &how);

	if (err && how == FAULT_GONE && (flags & MAP_FIXED))
		munmap(addr, len);
	if (err)
		return err;
	return tf_os_linux.map(REAL, addr, len, prot, flags, fd, off);
}

static int fault_remap_over(const struct tf_os *os, void *from, size_t len,
			    void *to)
{
	enum fault_how how;
	int err = gate(os, FAULT_REMAP_OVER, &how);

	if (err && how == FAULT_GONE)
		munmap(to, len);
	return err ? err : tf_os_linux.remap_over(REAL, from, len, to);
}

static int fault_unmap(const struct tf_os *os, void *addr, size_t len)
{
	struct os_fault *f = fault_of(os);
	enum fault_how how;
	int err = gate(os, FAULT_UNMAP, &how);

	if (!err)
		return tf_os_linux.unmap(REAL, addr, len);
	pthread_mutex_lock(&f->lock);
	if (f->nleaks < FAULT_LEAKS) {
		f->leak[f->nleaks].addr = addr;
		f->leak[f->nleaks++].len = len;
	}
	pthread_mutex_unlock(&f->lock);
	return err;
}

/* Linux closes the descriptor even when close() reports an error. */
static int fault_close(const struct tf_os *os, int fd)
{
	enum fault_how how;
	int err = gate(os, FAULT_CLOSE, &how);
	int real = tf_os_linux.close(REAL, fd);

	return err ? err : real;
}

static uint64_t fault_now_ns(const struct tf_os *os)
{
	enum fault_how how;

	gate(os, FAULT_NOW_NS, &how);
	return tf_os_linux.now_ns(REAL);
}

/* Half of the pages; of one page nothing, or for a file half of it. */
static size_t half(size_t len)
{
	return len / TF_PAGE / 2 * TF_PAGE;
}

static long fault_write_at(const struct tf_os *os, int fd, const void *buf,
			   size_t len, uint64_t off)
{
	enum fault_how how;
	int err = gate(os, FAULT_WRITE_AT, &how);

	if (err && how == FAULT_SHORT)
		len = half(len) + TF_PAGE / 2;
	else if (err)
		return err;
	return tf_os_linux.write_at(REAL, fd, buf, len, off);
}

/* All moved, one page less reported; the error if there was but one. */
static long move_uncounted(int uffd, void *to, void *from, size_t len, int err)
{
	long moved = tf_os_linux.uffd_move(REAL, uffd, to, from, len);

	if (moved <= 0)
		return moved;
	return moved > (long)TF_PAGE ? moved - (long)TF_PAGE : err;
}

static long fault_uffd_move(const struct tf_os *os, int uffd, void *to,
			    void *from, size_t len)
{
	enum fault_how how;
	int err = gate(os, FAULT_UFFD_MOVE, &how);

	if (err && how == FAULT_DONE)
		return move_uncounted(uffd, to, from, len, err);
	if (err && how == FAULT_SHORT && half(len))
		len = half(len);
	else if (err)
		return err;
	return tf_os_linux.uffd_move(REAL, uffd, to, from, len);
}

static long fault_uffd_zeropage(const struct tf_os *os, int uffd, void *addr,
				size_t len)
{
	enum fault_how how;
	int err = gate(os, FAULT_UFFD_ZEROPAGE, &how);

	if (err && how == FAULT_SHORT && half(len))
		len = half(len);
	else if (err)
		return err;
	return tf_os_linux.uffd_zeropage(REAL, uffd, addr, len);
}

void os_fault_init(struct os_fault *f)
{
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
	f->os = (struct tf_os){
		.map = fault_map,
		.unmap = fault_unmap,
		.remap_over = fault_remap_over,
		.remap_away = fault_remap_away,
		.advise = fault_advise,
		.unlock = tf_os_linux.unlock,
		.drop = fault_drop,
		.bind = fault_bind,
		.policy = fault_policy,
		.name = fault_name,
		.node = fault_node,
		.memfd = fault_memfd,
		.write_at = fault_write_at,
		.read_at = tf_os_linux.read_at,
		.punch = fault_punch,
		.uffd_open = fault_uffd_open,
		.uffd_register = fault_uffd_register,
		.uffd_unregister = fault_uffd_unregister,
		.uffd_wake = fault_uffd_wake,
		.uffd_protect = fault_uffd_protect,
		.uffd_move = fault_uffd_move,
		.uffd_zeropage = fault_uffd_zeropage,
		.uffd_poison = fault_uffd_poison,
		.uffd_read = fault_uffd_read,
		.pagemap_open = fault_pagemap_open,
		.pagemap_scan = fault_pagemap_scan,
		.pagemap_read = fault_pagemap_read,
		.poll = fault_poll,
		.eventfd = fault_eventfd,
		.signal = fault_signal,
		.drain = fault_drain,
		.timer = tf_os_linux.timer,
		.arm = tf_os_linux.arm,
		.close = fault_close,
		.random = fault_random,
		.read_file = fault_read_file,
		.now_ns = fault_now_ns,
		.wait_word = tf_os_linux.wait_word,
		.wake_word = tf_os_linux.wake_word,
		.thread_id = tf_os_linux.thread_id,
		.tell_early = tf_os_linux.tell_early,
		.write_file = tf_os_linux.write_file,
		.control = tf_os_linux.control,
		.hash = fault_hash,
		.equal = fault_equal,
		.copy = fault_copy,
	};
}

void os_fault_set(struct os_fault *f, enum fault_kind kind, unsigned at,
		  unsigned n, int err, enum fault_how how)
{
	pthread_mutex_lock(&f->lock);
	f->fail_kind = kind;
	f->fail_at = at;
	f->fail_for = n;
	f->fail_err = err;
	f->how = how;
	pthread_mutex_unlock(&f->lock);
}

void os_fault_pause(struct os_fault *f, bool on)
{
	pthread_mutex_lock(&f->lock);
	f->paused = on;
	pthread_mutex_unlock(&f->lock);
}

void os_fault_clear(struct os_fault *f)
{
	os_fault_set(f, FAULT_ANY, 0, 0, 0, FAULT_CLEAN);
}

void os_fault_watch(struct os_fault *f, enum fault_kind kind, fault_at_fn *at,
		    void *user)
{
	pthread_mutex_lock(&f->lock);
	f->at = at;
	f->at_user = user;
	f->at_kind = kind;
	f->at_thread = pthread_self();
	f->at_index = 0;
	pthread_mutex_unlock(&f->lock);
}

void os_fault_unwatch(struct os_fault *f)
{
	pthread_mutex_lock(&f->lock);
	f->at = NULL;
	pthread_mutex_unlock(&f->lock);
}

void os_fault_mend(struct os_fault *f)
{
	for (unsigned i = 0; i < f->nleaks; i++)
		munmap(f->leak[i].addr, f->leak[i].len);
	f->nleaks = 0;
}
