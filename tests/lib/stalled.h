/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block device whose reads can be held up: a loop device over the only file
 * of a small FUSE file system. Direct reads from a block device pin the pages
 * they go to, for as long as they are in flight.
 *
 * The file system is served by a child process that dies with the test, and
 * nothing has a name once it is open: the mount is detached, the loop device
 * clears itself. A test that is killed leaves nothing behind and does not
 * hang in its reads.
 */
#ifndef TF_TESTS_LIB_STALLED_H
#define TF_TESTS_LIB_STALLED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define STALLED_BLOCKS 64u

/* Shared with the server. */
struct stalled_gate {
	atomic_bool held;    /* reads wait */
	atomic_uint waiting; /* reads that do */
};

struct stalled {
	struct stalled_gate *gate;
	pid_t server;
	int loop; /* the block device, for direct reads */
};

/* Ends the test with 77 where there is no FUSE or no loop device. Before any
 * other thread is started. */
void stalled_open(struct stalled *s);
void stalled_close(struct stalled *s);

/* From now on reads wait; from now on they do not. */
void stalled_hold(struct stalled *s);
void stalled_release(struct stalled *s);

/* Wait until a read waits. */
void stalled_await(struct stalled *s);

/* Page `no` of the device, for `page`. */
void stalled_block(void *page, unsigned no);

#endif
