/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the preload library share. Loaded into an unmodified
 * QEMU, it sees the C library calls by which QEMU handles guest RAM, and
 * embeds an engine through the public API.
 *
 *   real.c     the functions behind those we stand in front of
 *   env.c      TWINFOLD_*, read once
 *   say.c      the log
 *   life.c     when the engine begins, and forked children
 *   blocks.c   RAM blocks, as QEMU names them; which the engine has
 *   changes.c  what QEMU does to them
 *   gpa.c      KVM's memslots: which guest address is where
 *   scan.c     the scanning thread, and reasons not to merge
 *   direct.c   direct I/O that the fence would not see
 *   nested.c   nor what KVM does for nested guests
 *   sigbus.c   QEMU's SIGBUS handler becomes the next one
 *   sigmask.c  SIGBUS stays open in QEMU's threads
 *   on_*.c     the interposed functions
 *   ctl*.c     the control socket
 *
 * Rules. Nothing here may fail a call of QEMU's that would have worked, change
 * errno behind its back, or print. Until the first block of guest RAM is named
 * nothing is started. System calls of the engine and of this library do not
 * come through the interposed functions: the linker binds them to __wrap_*.
 *
 * Lock order: the blocks' lock, the scan lock, the engine's. Each is held by
 * threads of QEMU, with QEMU's big lock or without, and by ours, which never
 * wait for QEMU.
 */
#ifndef TF_QEMU_PRELOAD_H
#define TF_QEMU_PRELOAD_H

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <twinfold/twinfold.h>

/* The definition of a function under the C library's name for it. */
#define TQ_EXPORT(name) __asm__(name) __attribute__((visibility("default")))

/* real.c ------------------------------------------------------------------ */

struct tq_real {
	void *(*mmap)(void *, size_t, int, int, int, off_t);
	int (*munmap)(void *, size_t);
	void *(*mremap)(void *, size_t, size_t, int, ...);
	int (*mprotect)(void *, size_t, int);
	int (*madvise)(void *, size_t, int);
	int (*mlockall)(int);
	int (*ioctl)(int, unsigned long, ...);
	int (*open)(const char *, int, ...);
	int (*openat)(int, const char *, int, ...);
	int (*fcntl)(int, int, ...);
	ssize_t (*recvmsg)(int, struct msghdr *, int);
	int (*sigaction)(int, const struct sigaction *, struct sigaction *);
	int (*pthread_sigmask)(int, const sigset_t *, sigset_t *);
};

const struct tq_real *tq_real(void);

/* Is this thread ours or the engine's, or a thread of QEMU inside the engine?
 * Initial-exec: read in a signal handler. */
extern __thread bool tq_inside __attribute__((tls_model("initial-exec")));

/* env.c ------------------------------------------------------------------- */

struct tq_env {
	bool dedup, ras;
	unsigned pace; /* per cent of one CPU for scanning, 1 to 100 */
	const char *domain, *agent, *log, *ctl; /* NULL: not set */
	char bad[256];    /* what is wrong with which value, "" = nothing */
	char unknown[64]; /* TWINFOLD_* that is no setting, "" = none */
};

void tq_env_read(struct tq_env *env);

/* say.c ------------------------------------------------------------------- */

/* NULL: standard error, from notices on. 0, or -errno: the file. */
int tq_say_open(const char *path);
void tq_say(enum tf_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A tf_log_fn. */
void tq_say_line(void *user, enum tf_log_level level, const char *line);
/* What this thread says is not written, only remembered, or written again. */
void tq_say_quiet(bool on);
/* The warnings that this thread said since the call before, or "". `ret` may
 * be NULL. */
void tq_say_last(char *ret, size_t size);

/* life.c ------------------------------------------------------------------ */

struct tq_life {
	struct tq_env env;
	struct tf_engine *engine; /* NULL: see tq_life_idle() */
	struct tf_guest *guest;
};

/* The engine that runs, or NULL: before it began, in a forked child, and
 * when twinfold is off. Async-signal-safe. */
const struct tq_life *tq_life(void);
/* Guest RAM was named: begin, once. NULL: twinfold is off. */
const struct tq_life *tq_life_begin(void);
/* Why there is no engine although the library runs, or NULL. */
const char *tq_life_idle(void);
/* Our own threads hold on to the engine. False: there is none, and nothing is
 * held. */
bool tq_life_hold(void);
void tq_life_let_go(void);
/* Memory is about to be locked: the engine ends. */
void tq_life_retire(const char *why);
/* Threads wait here until all parts have begun. False: they did not. */
bool tq_life_wait(void);

/* blocks.c ---------------------------------------------------------------- */

enum tq_block_state {
	TQ_BLOCK_NONE,
	TQ_BLOCK_WAITING, /* to be given to the engine when it is quiet */
	TQ_BLOCK_MERGING, /* a memslot of the engine */
	TQ_BLOCK_REFUSED, /* see `reason` */
};

#define TQ_BLOCKS_MAX 512

struct tq_block {
	enum tq_block_state state;
	char *start;
	size_t bytes;
	uint64_t gpa;      /* of the engine's memslot */
	uint64_t retry_ns; /* WAITING: when. REFUSED: 0 = never */
	char reason[160];
};

/* Take the blocks' lock, if [addr, addr + len) touches any block. False: it
 * does not, and nothing is held. errno is preserved by both. */
bool tq_blocks_enter(const void *addr, size_t len);
void tq_blocks_leave(void);
/* The rest needs the lock. Blocks are numbered from 0. */
struct tq_block *tq_block_get(unsigned i);
unsigned tq_blocks_count(void);
bool tq_block_touches(const struct tq_block *b, const void *addr, size_t len);
/* Take it from the engine, if it has it: its pages are private again. */
void tq_block_detach(struct tq_block *b);
/* Detached, for now (`ms` until it is tried again) or for good (0). */
void tq_block_refuse(struct tq_block *b, unsigned ms, const char *why);

/* QEMU named a block. */
void tq_blocks_name(char *addr, size_t len);
/* Give the engine what is quiet. Returns milliseconds until there is more to
 * do, at most `ms`. */
unsigned tq_blocks_attach(unsigned ms);
/* The engine's address of a host address; false: not in a block. */
bool tq_blocks_gpa(const void *hva, uint64_t *ret);
/* Call `each` for every block, under the lock. */
void tq_blocks_each(void (*each)(const struct tq_block *, void *), void *arg);

/* changes.c --------------------------------------------------------------- */

/* Begin and end of a call that changes attributes of [addr, addr + len). What
 * of guest RAM is in it is the engine's again after the call. */
bool tq_change_begin(const void *addr, size_t len);
void tq_change_end(bool begun);
/* These mappings go away. */
void tq_change_unmap(const void *addr, size_t len);
/* True: done, these pages read as zeros. */
bool tq_change_discard(void *addr, size_t len);
/* Other ways that guest RAM is used by; see blocks.c for `ms`. */
void tq_change_refuse(const void *addr, size_t len, unsigned ms,
		      const char *why);

/* gpa.c ------------------------------------------------------------------- */

/* A memslot of KVM's was set; size 0: deleted. */
void tq_gpa_set(int vm, uint32_t slot, uint64_t gpa, uint64_t bytes,
		uint64_t hva);
/* What the engine calls the guest's `gpa`. Without KVM these are the same.
 * False: no RAM there. */
bool tq_gpa_find(uint64_t gpa, uint64_t *ret);

/* scan.c ------------------------------------------------------------------ */

/* A descriptor that wakes the scanning thread when it is written, or -errno. */
int tq_scan_prepare(void);
int tq_scan_begin(const struct tq_life *life);
/* Start or stop scanning. -EPERM: there is a reason not to merge. */
int tq_scan_switch(bool to);
bool tq_scan_is_on(void);
/* One pass, now, in this thread. -EPERM as above. */
int tq_scan_pass(struct tf_pass *ret);
/* The scanning thread looks at the blocks soon. */
void tq_scan_wake(void);
/* No page is merged from now on, when this returns. */
void tq_scan_forbid(const char *why);
bool tq_scan_is_forbidden(void);
/* Call `each` for every reason. */
void tq_scan_reasons(void (*each)(const char *, void *), void *arg);

/* direct.c ---------------------------------------------------------------- */

/* A descriptor with these flags (O_DIRECT?) came to be. */
void tq_direct_check(int fd, int flags);
/* The same for all descriptors that there are. */
void tq_direct_check_all(void);

/* nested.c ---------------------------------------------------------------- */

struct kvm_cpuid2;
/* A vCPU gets these features: may the guest have guests of its own? */
void tq_nested_check(const struct kvm_cpuid2 *cpuid);

/* sigbus.c ---------------------------------------------------------------- */

/* Ours comes first from now on. */
void tq_sigbus_begin(void);
/* The engine is not asked any more, when this returns. */
void tq_sigbus_end(void);
/* QEMU's sigaction(SIGBUS, ...), and that of the engine. */
int tq_sigbus_action(const struct sigaction *act, struct sigaction *old);
int tq_sigbus_engine_action(const struct sigaction *act, struct sigaction *old);

/* sigmask.c --------------------------------------------------------------- */

/* Open SIGBUS in the calling thread, and in those that will be started. */
void tq_sigmask_begin(void);
/* Has QEMU opened SIGBUS in this thread itself? Async-signal-safe. */
bool tq_sigmask_is_open(void);
/* QEMU's own reading of SIGBUS (signalfd) in this thread, for one signal. */
void tq_sigmask_hand_over(const siginfo_t *info, void *context);
void tq_sigmask_handed_over(void);

/* ctl*.c ------------------------------------------------------------------ */

int tq_ctl_begin(const struct tq_life *life);

#endif
