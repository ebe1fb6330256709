/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads into guest RAM. Owns the data file, and one ring a reader. */
#include "lib/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/load_pages.h"
#include "lib/threads.h"

#define PAGE 4096u
#define XFS_MAGIC 0x58465342

static char blocks[RING_BLOCKS][PAGE] __attribute__((aligned(PAGE)));

const char *ring_block(unsigned no)
{
	return blocks[no];
}

/* File systems whose direct reads take their pages with FOLL_PIN. */
static void check_file_system(int fd, const char *path)
{
	struct statfs s;

	CHECK(fstatfs(fd, &s) == 0);
	if (s.f_type == EXT4_SUPER_MAGIC || s.f_type == XFS_MAGIC ||
	    s.f_type == BTRFS_SUPER_MAGIC)
		return;
	unlink(path);
	test_skip("%s is on a file system (0x%lx) that is not known to pin "
		  "pages for direct reads; set BUILD_DIR to a folder on ext4, "
		  "xfs or btrfs",
		  path, (unsigned long)s.f_type);
}

static void check_direct(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	if (fd < 0) {
		unlink(path);
		test_skip("no direct reads from %s: %s", path, strerror(errno));
	}
	close(fd);
}

char *ring_file_make(void)
{
	const char *dir = getenv("BUILD_DIR");
	char *path;
	int fd;

	CHECK(asprintf(&path, "%s/direct-reads-XXXXXX", dir ? dir : ".") > 0);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		test_fail("%s cannot be made: %s", path, strerror(errno));
	check_file_system(fd, path);
	/* Common contents, so that what was read merges. */
	for (unsigned i = 0; i < RING_BLOCKS; i++)
		content_fill(blocks[i], i);
	CHECK(write(fd, blocks, sizeof(blocks)) == sizeof(blocks));
	CHECK(fsync(fd) == 0);
	close(fd);
	check_direct(path);
	return path;
}

void ring_file_remove(char *path)
{
	unlink(path);
	free(path);
}

void ring_open(struct ring *r, const char *path, enum ring_way way)
{
	int flags = way == RING_BUFFERED ? O_RDONLY : O_RDONLY | O_DIRECT;
	int err;

	r->way = way;
	r->fd = open(path, flags | O_CLOEXEC);
	CHECK(r->fd >= 0);
	if (way != RING_PLAIN && way != RING_REGISTERED)
		return;
	err = io_uring_queue_init(4, &r->uring, 0);
	if (err == -ENOSYS || err == -EPERM)
		test_skip("no io_uring here: %s", strerror(-err));
	CHECK(err == 0);
}

void ring_close(struct ring *r)
{
	if (r->way == RING_PLAIN || r->way == RING_REGISTERED)
		io_uring_queue_exit(&r->uring);
	close(r->fd);
}

void ring_register(struct ring *r, void *buffer, size_t bytes)
{
	struct iovec v = { .iov_base = buffer, .iov_len = bytes };

	CHECK(io_uring_register_buffers(&r->uring, &v, 1) == 0);
}

void ring_unregister(struct ring *r)
{
	CHECK(io_uring_unregister_buffers(&r->uring) == 0);
}

static void uring_read(struct ring *r, void *page, unsigned no)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
	struct io_uring_cqe *cqe;
	int err;

	CHECK(sqe);
	if (r->way == RING_REGISTERED)
		io_uring_prep_read_fixed(sqe, r->fd, page, PAGE,
					 (uint64_t)no * PAGE, 0);
	else
		io_uring_prep_read(sqe, r->fd, page, PAGE, (uint64_t)no * PAGE);
	CHECK(io_uring_submit(&r->uring) == 1);
	do {
		err = io_uring_wait_cqe(&r->uring, &cqe);
	} while (err == -EINTR);
	CHECK(err == 0);
	if (cqe->res != (int)PAGE)
		test_fail("io_uring read: %d", cqe->res);
	io_uring_cqe_seen(&r->uring, cqe);
}

static void vm_writev(void *page, unsigned no)
{
	struct iovec from = { .iov_base = blocks[no], .iov_len = PAGE };
	struct iovec to = { .iov_base = page, .iov_len = PAGE };
	ssize_t r = process_vm_writev(getpid(), &from, 1, &to, 1, 0);

	if (r < 0 && (errno == EPERM || errno == ENOSYS))
		test_skip("no process_vm_writev here: %s", strerror(errno));
	if (r != (ssize_t)PAGE)
		test_fail("process_vm_writev: %zd, %s", r, strerror(errno));
}

void ring_read(struct ring *r, void *page, unsigned no)
{
	ssize_t n;

	switch (r->way) {
	case RING_PLAIN:
	case RING_REGISTERED:
		uring_read(r, page, no);
		return;
	case RING_VM_WRITEV:
		vm_writev(page, no);
		return;
	case RING_BUFFERED:
	case RING_PREAD:
		n = pread(r->fd, page, PAGE, (off_t)no * PAGE);
		if (n != (ssize_t)PAGE)
			test_fail("pread: %zd, %s", n, strerror(errno));
		return;
	}
}
