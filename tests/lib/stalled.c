/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stalled block device. Owns the server process with its FUSE session,
 * and the loop device.
 */
#define FUSE_USE_VERSION 34

#include "lib/stalled.h"

#include <stdint.h>
#include <string.h>

#include "lib/threads.h"

#define PAGE 4096u

void stalled_block(void *page, unsigned no)
{
	uint64_t *p = page;

	for (unsigned i = 0; i < PAGE / sizeof(*p); i++)
		p[i] = UINT64_C(0xb10c000000000000) + no * UINT64_C(65536) + i;
}

#ifdef TF_HAVE_FUSE
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_BYTES ((off_t)STALLED_BLOCKS * PAGE)
#define FILE_INODE 2
#define FILE_NAME "blocks"

static void file_attr(struct stat *st, fuse_ino_t ino)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_nlink = 1;
	st->st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600;
	st->st_size = ino == FUSE_ROOT_ID ? 0 : FILE_BYTES;
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	file_attr(&st, ino);
	fuse_reply_attr(req, &st, 3600);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .ino = FILE_INODE,
				      .attr_timeout = 3600,
				      .entry_timeout = 3600 };

	if (parent != FUSE_ROOT_ID || strcmp(name, FILE_NAME)) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	file_attr(&e.attr, FILE_INODE);
	fuse_reply_entry(req, &e);
}

/* No page cache: every read of the device comes to us. */
static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

/* One thread serves, so the reads behind a held one wait as well. */
static void wait_while_held(struct stalled_gate *gate)
{
	atomic_fetch_add(&gate->waiting, 1);
	while (atomic_load(&gate->held))
		test_nap(0.001);
	atomic_fetch_sub(&gate->waiting, 1);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	static char data[STALLED_BLOCKS][PAGE];

	(void)ino;
	(void)fi;
	for (unsigned i = 0; i < STALLED_BLOCKS; i++)
		stalled_block(data[i], i);
	wait_while_held(fuse_req_userdata(req));
	if (off >= FILE_BYTES)
		size = 0;
	else if ((off_t)size > FILE_BYTES - off)
		size = (size_t)(FILE_BYTES - off);
	fuse_reply_buf(req, (const char *)data + off, size);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = on_lookup,
	.getattr = on_getattr,
	.open = on_open,
	.read = on_read,
};

/* The server: says 1 or 0 through `ready`, for mounted or not, and serves. */
static void __attribute__((noreturn))
serve(struct stalled *s, const char *dir, int ready)
{
	char *argv[] = { (char *)"stalled", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *session;
	bool ok;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	session = fuse_session_new(&args, &ops, sizeof(ops), s->gate);
	ok = session && fuse_session_mount(session, dir) == 0;
	if (write(ready, ok ? "1" : "0", 1) != 1 || !ok)
		_exit(1);
	close(ready);
	fuse_session_loop(session);
	_exit(0);
}

static void server_start(struct stalled *s, const char *dir)
{
	char answer = '0';
	int fd[2];

	CHECK(pipe2(fd, O_CLOEXEC) == 0);
	s->server = fork();
	CHECK(s->server >= 0);
	if (s->server == 0)
		serve(s, dir, fd[1]);
	close(fd[1]);
	if (read(fd[0], &answer, 1) == 1 && answer == '1') {
		close(fd[0]);
		return;
	}
	rmdir(dir);
	test_skip("no FUSE file system can be mounted here (is /dev/fuse "
		  "there, and are you root?)");
}

/* A free loop device, set to the file. -1: somebody else took it. */
static int loop_try(int control, int file)
{
	struct loop_config config = {
		.fd = (uint32_t)file,
		.block_size = 0,
		.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};
	int no = ioctl(control, LOOP_CTL_GET_FREE), fd;
	char path[32];

	if (no < 0)
		return -1;
	snprintf(path, sizeof(path), "/dev/loop%d", no);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
		return fd;
	close(fd);
	return -1;
}

static int loop_open(int file)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int fd = -1;

	for (int i = 0; control >= 0 && fd < 0 && i < 20; i++) {
		fd = loop_try(control, file);
		if (fd < 0)
			test_nap(0.05);
	}
	if (control >= 0)
		close(control);
	return fd;
}

void stalled_open(struct stalled *s)
{
	char dir[] = "/tmp/twinfold-stalled-XXXXXX", path[64];
	int file;

	s->loop = -1;
	s->gate = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(s->gate != MAP_FAILED && mkdtemp(dir));
	server_start(s, dir);
	snprintf(path, sizeof(path), "%s/" FILE_NAME, dir);
	file = open(path, O_RDONLY | O_CLOEXEC);
	s->loop = file < 0 ? -1 : loop_open(file);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	if (s->loop < 0)
		test_skip("no loop device can be set up here");
	close(file);
}

/* The last user of the detached mount is gone then, and the server ends. */
void stalled_close(struct stalled *s)
{
	stalled_release(s);
	close(s->loop);
	waitpid(s->server, NULL, 0);
	munmap(s->gate, PAGE);
}
#else
void stalled_open(struct stalled *s)
{
	(void)s;
	test_skip("built without libfuse3");
}

void stalled_close(struct stalled *s)
{
	(void)s;
}
#endif

void stalled_hold(struct stalled *s)
{
	atomic_store(&s->gate->held, true);
}

void stalled_release(struct stalled *s)
{
	atomic_store(&s->gate->held, false);
}

void stalled_await(struct stalled *s)
{
	while (!atomic_load(&s->gate->waiting))
		test_nap(0.001);
}
