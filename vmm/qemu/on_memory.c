/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interposed: memory. A call that has nothing to do with guest RAM goes
 * straight on. fallocate() is not here: the engine takes private anonymous
 * memory only, which has no file to punch a hole into.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/qemu/preload.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

void *tq_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
	TQ_EXPORT("mmap");
void *tq_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off)
	TQ_EXPORT("mmap64");
int tq_munmap(void *addr, size_t len) TQ_EXPORT("munmap");
void *tq_mremap(void *addr, size_t len, size_t want, int flags, ...)
	TQ_EXPORT("mremap");
int tq_mprotect(void *addr, size_t len, int prot) TQ_EXPORT("mprotect");
int tq_madvise(void *addr, size_t len, int advice) TQ_EXPORT("madvise");
int tq_mlockall(int flags) TQ_EXPORT("mlockall");
long tq_mbind(void *addr, unsigned long len, int mode,
	      const unsigned long *nodes, unsigned long max, unsigned flags)
	TQ_EXPORT("mbind");

void *tq_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	bool begun = flags & MAP_FIXED && tq_change_begin(addr, len);
	void *at = tq_real()->mmap(addr, len, prot, flags, fd, off);

	tq_change_end(begun);
	return at;
}

void *tq_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return tq_mmap(addr, len, prot, flags, fd, off);
}

int tq_munmap(void *addr, size_t len)
{
	if (!((uintptr_t)addr % TF_PAGE_SIZE))
		tq_change_unmap(addr, len);
	return tq_real()->munmap(addr, len);
}

void *tq_mremap(void *addr, size_t len, size_t want, int flags, ...)
{
	static const char why[] = "QEMU remapped it";
	void *to = NULL;
	va_list ap;

	if (flags & MREMAP_FIXED) {
		va_start(ap, flags);
		to = va_arg(ap, void *);
		va_end(ap);
		tq_change_refuse(to, want, 0, why);
	}
	tq_change_refuse(addr, len, 0, why);
	return tq_real()->mremap(addr, len, want, flags, to);
}

int tq_mprotect(void *addr, size_t len, int prot)
{
	bool begun = tq_change_begin(addr, len);
	int r = tq_real()->mprotect(addr, len, prot);

	tq_change_end(begun);
	return r;
}

/* libnuma's, which may not be there: as it does. */
long tq_mbind(void *addr, unsigned long len, int mode,
	      const unsigned long *nodes, unsigned long max, unsigned flags)
{
	bool begun = tq_change_begin(addr, len);
	long r = syscall(SYS_mbind, addr, len, mode, nodes, max, flags);

	tq_change_end(begun);
	return r;
}

/* What the engine keeps mapped would be populated and locked as well, and
 * sharing undone at once. */
int tq_mlockall(int flags)
{
	tq_life_retire("all memory is locked (mem-lock=on, mlockall)");
	return tq_real()->mlockall(flags);
}

/* The engine merges in KSM's place; without merging KSM may. */
static int advise_mergeable(void *addr, size_t len)
{
	const struct tq_life *life = tq_life_begin();
	int r = 0;

	if (!life || tq_life_idle() || tq_scan_is_forbidden() ||
	    (uintptr_t)addr % TF_PAGE_SIZE)
		r = tq_real()->madvise(addr, len, MADV_MERGEABLE);
	if (!r && life)
		tq_blocks_name(addr, len);
	return r;
}

static int advise_changed(void *addr, size_t len, int advice)
{
	bool begun = tq_change_begin(addr, len);
	int r = tq_real()->madvise(addr, len, advice);

	tq_change_end(begun);
	return r;
}

int tq_madvise(void *addr, size_t len, int advice)
{
	switch (advice) {
	case MADV_MERGEABLE:
		return advise_mergeable(addr, len);
	case MADV_UNMERGEABLE:
		tq_change_refuse(addr, len, 0, "QEMU wants it not merged");
		break;
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
		if (tq_change_discard(addr, len))
			return 0;
		break;
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
		return advise_changed(addr, len, advice);
	}
	return tq_real()->madvise(addr, len, advice);
}
