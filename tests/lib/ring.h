/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads from a file into guest RAM by every way the kernel has: read(2)
 * through the page cache, direct, io_uring, io_uring into registered buffers,
 * and process_vm_writev from memory.
 *
 * The file consists of BLOCKS pages of known bytes.
 */
#ifndef TF_TESTS_LIB_RING_H
#define TF_TESTS_LIB_RING_H

#include <liburing.h>
#include <stddef.h>

#define RING_BLOCKS 8u

enum ring_way {
	RING_BUFFERED,   /* pread */
	RING_PREAD,      /* pread, O_DIRECT */
	RING_PLAIN,      /* io_uring, O_DIRECT */
	RING_REGISTERED, /* io_uring, O_DIRECT, registered buffer */
	RING_VM_WRITEV,
};

struct ring {
	enum ring_way way;
	int fd;
	struct io_uring uring; /* of the two that use it */
};

/*
 * Make the file in BUILD_DIR (or here), filled with ring_block(). Ends the
 * test with 77 where direct reads do not pin the pages they go to.
 * The name is to be given to ring_file_remove().
 */
char *ring_file_make(void);
void ring_file_remove(char *path);

/* The bytes of block `no` of the file. */
const char *ring_block(unsigned no);

void ring_open(struct ring *r, const char *path, enum ring_way way);
void ring_close(struct ring *r);

/* Register one buffer for RING_REGISTERED, or give it up again. */
void ring_register(struct ring *r, void *buffer, size_t bytes);
void ring_unregister(struct ring *r);

/* Read block `no` to `page`, a page of the guest, and wait for it. */
void ring_read(struct ring *r, void *page, unsigned no);

#endif
