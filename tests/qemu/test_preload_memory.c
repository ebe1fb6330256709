/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The preload library and what a VMM does to its guest RAM: naming, discards,
 * changes of attributes and mappings, other users of the same memory, forks.
 * In every case the bytes are checked.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/preload.h"

static char state[200], reason[200];

static char *page(char *ram, unsigned i)
{
	return ram + (size_t)i * 4096;
}

static bool is_zero(const char *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i])
			return false;
	return true;
}

/* Named, merged, written to and merged again; KSM hears nothing of it. */
static void merges(void)
{
	char *ram = preload_merged();

	CHECK(!preload_vma_has(ram, " mg"));
	for (unsigned i = 0; i < RAM_PAGES; i++)
		*page(ram, i) ^= 1;
	for (unsigned i = 0; i < RAM_PAGES; i++)
		*page(ram, i) ^= 1;
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	preload_passes();
	CHECK(preload_stat("pages_merged") > RAM_PAGES / 4);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static void small_blocks(void)
{
	char *ram = preload_merged(), *rom = preload_map();

	CHECK(!madvise(rom, 65536, MADV_MERGEABLE));
	CHECK(!preload_vma_has(rom, " mg"));
	CHECK(!preload_block(rom, state, reason, sizeof(state)));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static void discards(void)
{
	char *ram = preload_merged();

	CHECK(!madvise(page(ram, 100), (size_t)300 * 4096, MADV_DONTNEED));
	CHECK(is_zero(page(ram, 100), (size_t)300 * 4096));
	CHECK(preload_holds(ram, 0, 100));
	CHECK(preload_holds(ram, 400, RAM_PAGES));
	CHECK(preload_block(ram, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "merging"));
	/* The kernel rounds the length up, and refuses odd addresses. */
	CHECK(!madvise(page(ram, 501), 10, MADV_DONTNEED));
	CHECK(is_zero(page(ram, 501), 4096));
	CHECK(madvise(page(ram, 601) + 8, 4096, MADV_DONTNEED) == -1 &&
	      errno == EINVAL);
	CHECK(preload_holds(ram, 502, RAM_PAGES));
}

static void attributes(void)
{
	char *ram = preload_merged();

	CHECK(!madvise(ram, RAM_BYTES, MADV_DONTDUMP));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	preload_wait(ram, "merging");
	preload_passes();
	CHECK(preload_stat("pages_merged") > RAM_PAGES / 4);
	for (unsigned i = 0; i < 64; i++)
		CHECK(preload_vma_has(page(ram, i), " dd"));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

/* By libnuma's function, which this process has from the library alone. */
static void bound(void)
{
	char *ram = preload_merged();
	const unsigned long node0 = 1;
	long (*bind)(void *, unsigned long, int, const unsigned long *,
		     unsigned long, unsigned);
	int mode;

	*(void **)&bind = dlsym(RTLD_DEFAULT, "mbind");
	CHECK(bind && !bind(ram, RAM_BYTES, MPOL_BIND, &node0, 64, 0));
	preload_wait(ram, "merging");
	preload_passes();
	CHECK(preload_stat("pages_merged") > RAM_PAGES / 4);
	for (unsigned i = 0; i < RAM_PAGES; i++)
		*page(ram, i) ^= 1;
	for (unsigned i = 0; i < RAM_PAGES; i++) {
		*page(ram, i) ^= 1;
		CHECK(!syscall(SYS_get_mempolicy, &mode, NULL, 0, page(ram, i),
			       MPOL_F_ADDR));
		CHECK(mode == MPOL_BIND);
	}
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static void unmapped(void)
{
	char *ram = preload_merged(), *again;

	CHECK(!munmap(ram, RAM_BYTES));
	CHECK(!preload_block(ram, state, reason, sizeof(state)));
	CHECK(!preload_stat("pages_merged"));
	again = preload_merged();
	CHECK(!munmap(again, RAM_BYTES / 2));
	CHECK(preload_holds(again, RAM_PAGES / 2, RAM_PAGES));
	CHECK(preload_block(again, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "refused"));
}

/* As QEMU does with a poisoned page when its guest is reset. */
static void mapped_over(void)
{
	char *ram = preload_merged(), *at;

	at = mmap(page(ram, 33), 4096, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(at == page(ram, 33) && is_zero(at, 4096));
	CHECK(!madvise(at, 4096, MADV_MERGEABLE));
	CHECK(!madvise(at, 4096, MADV_DONTFORK));
	preload_wait(ram, "merging");
	preload_passes();
	CHECK(is_zero(at, 4096));
	CHECK(preload_holds(ram, 0, 33) && preload_holds(ram, 34, RAM_PAGES));
}

static void remapped(void)
{
	char *ram = preload_merged();

	CHECK(mremap(page(ram, 1), 4096, 8192, 0) == MAP_FAILED);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	CHECK(preload_block(ram, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "refused"));
}

/* As postcopy and background snapshots. */
static void watched(void)
{
	char *ram = preload_merged();
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { .start = (uintptr_t)ram,
						  .len = RAM_BYTES },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	CHECK(fd >= 0 && !ioctl(fd, UFFDIO_API, &api));
	CHECK(!ioctl(fd, UFFDIO_REGISTER, &reg));
	CHECK(preload_block(ram, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "refused") && strstr(reason, "userfaultfd"));
	CHECK(!preload_stat("pages_merged"));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	CHECK(!ioctl(fd, UFFDIO_UNREGISTER, &reg.range));
	close(fd);
	preload_wait(ram, "merging");
}

static void refused_kinds(void)
{
	char *ram = preload_merged(), *shared, *locked;

	shared = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(!madvise(shared, RAM_BYTES, MADV_MERGEABLE));
	preload_wait(shared, "refused");
	CHECK(preload_block(shared, state, reason, sizeof(state)));
	CHECK(strstr(reason, "shared"));
	locked = preload_map();
	/* A sanitizer makes mlock() do nothing. */
	CHECK(!syscall(SYS_mlock, locked, RAM_BYTES));
	CHECK(!madvise(locked, RAM_BYTES, MADV_MERGEABLE));
	preload_wait(locked, "refused");
	CHECK(preload_block(locked, state, reason, sizeof(state)));
	CHECK(strstr(reason, "locked"));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

/* Also what is named after it: QEMU locks before it has all its blocks. */
static void locked_for_good(void)
{
	const char *sanitizer = getenv("TF_SANITIZE");
	char *ram, *later;

	if (sanitizer && *sanitizer) {
		printf("skip: locked_for_good: a sanitizer makes mlockall() do "
		       "nothing\n");
		return;
	}
	ram = preload_merged();
	CHECK(!mlockall(MCL_CURRENT | MCL_ONFAULT));
	later = preload_map();
	CHECK(!madvise(later, RAM_BYTES, MADV_MERGEABLE));
	preload_wait(later, "refused");
	preload_wait(ram, "refused");
	CHECK(preload_block(later, state, reason, sizeof(state)));
	CHECK(strstr(reason, "mlockall"));
	CHECK(preload_has_reason("mlockall"));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	CHECK(preload_holds(later, 0, RAM_PAGES));
}

static void unwanted(void)
{
	char *ram = preload_merged();

	CHECK(!madvise(ram, RAM_BYTES, MADV_UNMERGEABLE));
	CHECK(preload_block(ram, state, reason, sizeof(state)));
	CHECK(!strcmp(state, "refused"));
	CHECK(!preload_stat("pages_merged"));
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

/* A child has no engine: its calls go straight to the kernel. */
static void forked(void)
{
	char *ram = preload_merged();
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		char *own = mmap(NULL, 1 << 22, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memset(own, 1, 1 << 22);
		CHECK(!madvise(own, 1 << 22, MADV_DONTNEED));
		CHECK(is_zero(own, 1 << 22));
		CHECK(!munmap(own, 1 << 22));
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	preload_passes();
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static const struct preload_case cases[] = {
	{ .name = "merges", .run = merges },
	{ .name = "small_blocks", .run = small_blocks },
	{ .name = "discards", .run = discards },
	{ .name = "attributes", .run = attributes },
	{ .name = "bound", .run = bound },
	{ .name = "unmapped", .run = unmapped },
	{ .name = "mapped_over", .run = mapped_over },
	{ .name = "remapped", .run = remapped },
	{ .name = "watched", .run = watched },
	{ .name = "refused_kinds", .run = refused_kinds },
	{ .name = "locked_for_good", .run = locked_for_good },
	{ .name = "unwanted", .run = unwanted },
	{ .name = "forked", .run = forked },
};

int main(int argc, char **argv)
{
	(void)argc;
	return preload_main(argv, cases, sizeof(cases) / sizeof(cases[0]));
}
