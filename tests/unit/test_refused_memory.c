/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that cannot be merged is refused, with which errno, and the log says
 * what to do about it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/unit_world.h"

#define PAGES 16u
#define BYTES (PAGES * TF_PAGE)

static void unmapped_memory_is_refused(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_empty(&u);
	ram = unit_ram(&u, BYTES);
	munmap(ram + TF_PAGE, TF_PAGE);
	unit_assert_refused(&u, g, 0, 0, ram, BYTES, -ENOMEM, "map all of it");
	unit_assert_refused(&u, g, 0, 0, ram + TF_PAGE, TF_PAGE, -ENOMEM,
			    "nothing is mapped");
	unit_slot(g, 0, 0, ram + 2 * TF_PAGE, BYTES - 2 * TF_PAGE);
	unit_close(&u);
}

/* Refuse `mem` and unmap it. */
static void refuse_mapping(void *mem, size_t bytes, const char *words)
{
	struct tf_guest *g;
	struct unit u;

	assert_ptr_not_equal(mem, MAP_FAILED);
	g = unit_empty(&u);
	unit_assert_refused(&u, g, 0, 0, mem, bytes, -EOPNOTSUPP, words);
	unit_close(&u);
	munmap(mem, bytes);
}

static void *map(int prot, int flags, int fd)
{
	return mmap(NULL, BYTES, prot, flags, fd, 0);
}

static void shared_memory_is_refused(void **state)
{
	(void)state;
	refuse_mapping(map(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			   -1),
		       BYTES, "use private anonymous memory");
}

static void files_are_refused(void **state)
{
	int fd = (int)syscall(SYS_memfd_create, "unit", 0u);

	(void)state;
	assert_int_equal(ftruncate(fd, BYTES), 0);
	refuse_mapping(map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd), BYTES,
		       "file-backed");
	close(fd);
}

static void other_protections_are_refused(void **state)
{
	(void)state;
	refuse_mapping(map(PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1), BYTES,
		       "not readable and writable");
	refuse_mapping(map(PROT_READ | PROT_WRITE | PROT_EXEC,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1),
		       BYTES, "executable");
}

static void locked_memory_is_refused(void **state)
{
	char *mem =
		map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	(void)state;
	/* By syscall(2): sanitizers turn the functions into nothing. */
	if (syscall(SYS_mlock, mem, BYTES)) {
		munmap(mem, BYTES);
		unit_skip("no memory may be locked here");
	}
	refuse_mapping(mem, BYTES, "munlock");
}

static void wiped_memory_is_refused(void **state)
{
	char *mem =
		map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	(void)state;
	assert_int_equal(madvise(mem, BYTES, MADV_WIPEONFORK), 0);
	refuse_mapping(mem, BYTES, "MADV_KEEPONFORK");
}

static void memory_of_another_userfaultfd_is_refused(void **state)
{
	char *mem =
		map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int fd = tf_os_linux.uffd_open(&tf_os_linux, TF_UFFD_GUEST);

	(void)state;
	if (fd < 0) {
		munmap(mem, BYTES);
		unit_skip("no userfaultfd with UFFDIO_MOVE here");
	}
	assert_int_equal(tf_os_linux.uffd_register(&tf_os_linux, fd, mem, BYTES,
						   TF_REG_WP),
			 0);
	refuse_mapping(mem, BYTES, "another userfaultfd");
	close(fd);
}

static void protection_keys_are_refused(void **state)
{
	char *mem;
	long key = syscall(SYS_pkey_alloc, 0ul, 0ul);

	(void)state;
	if (key < 0)
		unit_skip("this CPU has no memory protection keys");
	mem = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	assert_int_equal(syscall(SYS_pkey_mprotect, mem, BYTES,
				 PROT_READ | PROT_WRITE, key),
			 0);
	refuse_mapping(mem, BYTES, "protection key");
	syscall(SYS_pkey_free, key);
}

/* The kernel's own data pages, which every process has, are PFN-mapped. */
static void pfn_mappings_are_refused(void **state)
{
	struct tf_guest *g;
	unsigned long start = 0, end = 0;
	bool have;
	char *text, *line;
	struct unit u;

	(void)state;
	assert_int_equal(tf_os_linux.read_file(&tf_os_linux, "/proc/self/maps",
					       &text),
			 0);
	line = strstr(text, "[vvar]");
	while (line && line > text && line[-1] != '\n')
		line--;
	have = line && sscanf(line, "%lx-%lx", &start, &end) == 2;
	free(text);
	if (!have)
		unit_skip("no PFN mapping in this process");
	g = unit_empty(&u);
	unit_assert_refused(&u, g, 0, 0, (void *)start, end - start,
			    -EOPNOTSUPP, "memslot refused");
	unit_close(&u);
}

/* 0: refused and the log says why; 1: not; 77: nothing can be locked. */
static int try_locked_future(void)
{
	struct unit u;
	char *ram;
	int err;

	unit_init(&u);
	unit_open(&u);
	ram = unit_ram(&u, BYTES);
	if (syscall(SYS_mlockall, MCL_FUTURE))
		return 77;
	err = tf_guest_add_memslot(unit_guest(&u, NULL), 0, 0, ram, BYTES);
	return err != -EOPNOTSUPP || !unit_log_has(&u, "munlockall");
}

static void a_locked_future_is_refused(void **state)
{
	int status;
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (!child)
		_exit(try_locked_future());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		unit_skip("mlockall() is not allowed here");
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int no_fork_events(const struct tf_os *os, enum tf_uffd_kind kind)
{
	if (kind == TF_UFFD_FORK)
		return -EPERM;
	return tf_os_linux.uffd_open(os, kind);
}

/* Without fork events only memory that no child inherits can be merged. */
static void without_fork_events_memory_must_not_fork(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	unit_init(&u);
	unit_wrap(&u, uffd_open, no_fork_events);
	unit_open(&u);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, BYTES);
	unit_assert_refused(&u, g, 0, 0, ram, BYTES, -EOPNOTSUPP,
			    "MADV_DONTFORK");
	assert_int_equal(madvise(ram, BYTES, MADV_DONTFORK), 0);
	unit_slot(g, 0, 0, ram, BYTES);
	unit_fill(ram, 1);
	unit_fill(ram + TF_PAGE, 1);
	unit_passes(&u, 2);
	assert_int_equal(unit_stats(&u).pages_sharing, 1);
	unit_close(&u);
}

static int register_fails(const struct tf_os *os, int uffd, void *addr,
			  size_t len, int mode)
{
	(void)os;
	(void)uffd;
	(void)addr;
	(void)len;
	(void)mode;
	return -EBUSY;
}

static void memory_that_cannot_be_watched_is_refused(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_empty(&u);
	ram = unit_ram(&u, BYTES);
	unit_wrap(&u, uffd_register, register_fails);
	unit_assert_refused(&u, g, 0, 0, ram, BYTES, -EOPNOTSUPP,
			    "cannot be watched");
	unit_wrap(&u, uffd_register, tf_os_linux.uffd_register);
	unit_slot(g, 0, 0, ram, BYTES);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unmapped_memory_is_refused),
		cmocka_unit_test(shared_memory_is_refused),
		cmocka_unit_test(files_are_refused),
		cmocka_unit_test(other_protections_are_refused),
		cmocka_unit_test(locked_memory_is_refused),
		cmocka_unit_test(wiped_memory_is_refused),
		cmocka_unit_test(memory_of_another_userfaultfd_is_refused),
		cmocka_unit_test(protection_keys_are_refused),
		cmocka_unit_test(pfn_mappings_are_refused),
		cmocka_unit_test(a_locked_future_is_refused),
		cmocka_unit_test(without_fork_events_memory_must_not_fork),
		cmocka_unit_test(memory_that_cannot_be_watched_is_refused),
	};

	return unit_run(tests);
}
