/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * THE kernel seam: every system call the engine makes, and every read of
 * guest or store memory, goes through a table of these functions. The real
 * table is os_linux.c; tests wrap it to make any call fail, or to act at the
 * very moment of a call.
 *
 * Shared rules
 *  - Results are >= 0 or a negative errno.
 *  - `uffd` is a userfaultfd, addresses are page aligned, sizes are bytes.
 *  - System calls are made by syscall(2), never through a libc wrapper that
 *    a preload library may interpose.
 *  - Nothing here takes a lock. hash(), equal() and copy() may fault and may
 *    block on a fault that the resolver must answer: never call them on guest
 *    addresses while holding the engine's lock.
 */
#ifndef TF_ENGINE_OS_H
#define TF_ENGINE_OS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct uffd_msg;

#define TF_PAGE 4096ul
#define TF_PAGE_SHIFT 12

/* MADV_POPULATE_READ (Linux 5.14); older libc headers lack it. */
#define TF_POPULATE_READ 22

/* Which memory the async context follows, and what a fault in it means. */
enum {
	TF_REG_MISSING = 1 << 0, /* UFFDIO_REGISTER_MODE_MISSING */
	TF_REG_WP = 1 << 1,      /* UFFDIO_REGISTER_MODE_WP */
};

/* Kinds of userfaultfd context the engine opens. */
enum tf_uffd_kind {
	/* Guest memory: asynchronous write protection (written-since), holes
	 * that block, moves. */
	TF_UFFD_GUEST,
	/* Merged mappings: synchronous write protection. */
	TF_UFFD_MERGED,
	/* The engine's own memory: whoever touches a hole, such as
	 * mlockall(), is refused instead of waiting or filling it; moves. */
	TF_UFFD_OURS,
	/* Forks of the process (CAP_SYS_PTRACE). */
	TF_UFFD_FORK,
	/* Holes that block, and the registration follows mremap(), which
	 * waits until its event was read. */
	TF_UFFD_GATHER,
};

/* One range of a page scan: [start, end) and its PAGE_IS_* categories. */
struct tf_scan_range {
	uint64_t start, end, categories;
};

/* The argument of PAGEMAP_SCAN, as in the kernel's uapi (linux/fs.h, 6.7). */
struct tf_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask;
	uint64_t return_mask;
};

#define TF_PG_WPALLOWED (1u << 0)
#define TF_PG_WRITTEN (1u << 1)
#define TF_PG_FILE (1u << 2)
#define TF_PG_PRESENT (1u << 3)
#define TF_PG_SWAPPED (1u << 4)
#define TF_PG_PFNZERO (1u << 5)
#define TF_PG_HUGE (1u << 6)

/* A pagemap entry (Documentation/admin-guide/mm/pagemap.rst). */
#define TF_PM_PRESENT (UINT64_C(1) << 63)
#define TF_PM_SWAPPED (UINT64_C(1) << 62)
#define TF_PM_FILE (UINT64_C(1) << 61)

struct tf_os {
	/* Memory. map() returns the address. */
	long (*map)(const struct tf_os *os, void *addr, size_t len, int prot,
		    int flags, int fd, uint64_t off);
	int (*unmap)(const struct tf_os *os, void *addr, size_t len);
	/* Move `len` bytes of private anonymous memory, populated or not,
	 * over `to` in one step; `from` stays mapped and empty. */
	int (*remap_over)(const struct tf_os *os, void *from, size_t len,
			  void *to);
	/* Move a private anonymous mapping, populated or not, to where the
	 * kernel likes; `from` stays mapped and empty. The new address. */
	long (*remap_away)(const struct tf_os *os, void *from, size_t len);
	int (*advise)(const struct tf_os *os, void *addr, size_t len,
		      int advice);
	/* Undo mlock(), and mlockall(), of it. */
	int (*unlock)(const struct tf_os *os, void *addr, size_t len);
	/* Free the pages of `n` ranges of anonymous memory: holes again. On
	 * failure some may be freed. */
	int (*drop)(const struct tf_os *os, const struct iovec *vec,
		    unsigned n);
	int (*bind)(const struct tf_os *os, void *addr, size_t len, int mode,
		    const unsigned long *nodes, unsigned long maxnode);
	int (*policy)(const struct tf_os *os, void *addr, int *mode,
		      unsigned long *nodes, unsigned long maxnode);
	int (*name)(const struct tf_os *os, void *addr, size_t len,
		    const char *name);
	/* The NUMA node of a page, or -ENOENT. */
	int (*node)(const struct tf_os *os, void *addr);

	/* The store's file. */
	int (*memfd)(const struct tf_os *os, const char *name, uint64_t bytes);
	long (*write_at)(const struct tf_os *os, int fd, const void *buf,
			 size_t len, uint64_t off);
	/* Bytes read; -EIO where the page is lost, and known to be. */
	long (*read_at)(const struct tf_os *os, int fd, void *buf, size_t len,
			uint64_t off);
	int (*punch)(const struct tf_os *os, int fd, uint64_t off,
		     uint64_t len);

	/* userfaultfd. move() returns the bytes moved, fewer than `len` when
	 * it stopped at a page, or the error of the first page. */
	int (*uffd_open)(const struct tf_os *os, enum tf_uffd_kind kind);
	int (*uffd_register)(const struct tf_os *os, int uffd, void *addr,
			     size_t len, int mode);
	int (*uffd_unregister)(const struct tf_os *os, int uffd, void *addr,
			       size_t len);
	int (*uffd_wake)(const struct tf_os *os, int uffd, void *addr,
			 size_t len);
	int (*uffd_protect)(const struct tf_os *os, int uffd, void *addr,
			    size_t len, bool on);
	long (*uffd_move)(const struct tf_os *os, int uffd, void *to,
			  void *from, size_t len);
	long (*uffd_zeropage)(const struct tf_os *os, int uffd, void *addr,
			      size_t len);
	int (*uffd_poison)(const struct tf_os *os, int uffd, void *addr,
			   size_t len);
	/* Messages read, or -EAGAIN. */
	int (*uffd_read)(const struct tf_os *os, int uffd, struct uffd_msg *msg,
			 unsigned n);

	/* Page tables. scan() returns the number of ranges and sets
	 * scan->walk_end. */
	int (*pagemap_open)(const struct tf_os *os);
	long (*pagemap_scan)(const struct tf_os *os, int fd,
			     struct tf_scan *scan);
	long (*pagemap_read)(const struct tf_os *os, int fd, const void *addr,
			     uint64_t *entries, size_t n);

	/* Plumbing. */
	int (*poll)(const struct tf_os *os, struct pollfd *fds, unsigned n,
		    int timeout_ms);
	int (*eventfd)(const struct tf_os *os);
	int (*signal)(const struct tf_os *os, int eventfd);
	int (*drain)(const struct tf_os *os, int fd); /* an eventfd, a timer */
	/* A descriptor that becomes readable so many nanoseconds after it was
	 * armed. */
	int (*timer)(const struct tf_os *os);
	int (*arm)(const struct tf_os *os, int timer, unsigned ns);
	int (*close)(const struct tf_os *os, int fd);
	int (*random)(const struct tf_os *os, void *buf, size_t len);
	/* A whole file as a string that the caller frees. */
	int (*read_file)(const struct tf_os *os, const char *path, char **text);
	uint64_t (*now_ns)(const struct tf_os *os);

	/* For signal handlers: sleep while *word is `value`, for so many
	 * milliseconds at most; wake all who do; this thread's number. */
	void (*wait_word)(const struct tf_os *os, _Atomic uint32_t *word,
			  uint32_t value, unsigned ms);
	void (*wake_word)(const struct tf_os *os, _Atomic uint32_t *word);
	int (*thread_id)(const struct tf_os *os);
	/* Have the kernel tell this thread of lost pages before they are
	 * touched, unless the process has said already when it wants that. */
	int (*tell_early)(const struct tf_os *os);
	int (*write_file)(const struct tf_os *os, const char *path,
			  const char *text);
	/* ioctl() of a vCPU. */
	int (*control)(const struct tf_os *os, int fd, unsigned long request,
		       void *arg);

	/* Guarded reads: -EHWPOISON instead of dying on a memory error. */
	int (*hash)(const struct tf_os *os, const void *page,
		    const uint8_t *secret, uint64_t *hash);
	/* 1 equal, 0 different. */
	int (*equal)(const struct tf_os *os, const void *a, const void *b,
		     size_t len);
	int (*copy)(const struct tf_os *os, void *to, const void *from,
		    size_t len);
};

/* The real kernel. */
extern const struct tf_os tf_os_linux;

/* Bytes of the hash secret (XXH3_SECRET_SIZE_MIN is 136; 192 is xxHash's own
 * default size). */
#define TF_SECRET_BYTES 192

#endif
