/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of the real kernel seam, split over os_linux.c, os_uffd.c and
 * os_ras.c and os_read.c. Included by those only. */
#ifndef TF_ENGINE_OS_LINUX_H
#define TF_ENGINE_OS_LINUX_H

#include "engine/os.h"

/* A system call's result with errno folded in. */
long tf_sys_result(long r);

int tf_linux_uffd_open(const struct tf_os *os, enum tf_uffd_kind kind);
int tf_linux_uffd_register(const struct tf_os *os, int uffd, void *addr,
			   size_t len, int mode);
int tf_linux_uffd_unregister(const struct tf_os *os, int uffd, void *addr,
			     size_t len);
int tf_linux_uffd_wake(const struct tf_os *os, int uffd, void *addr,
		       size_t len);
int tf_linux_uffd_protect(const struct tf_os *os, int uffd, void *addr,
			  size_t len, bool on);
long tf_linux_uffd_move(const struct tf_os *os, int uffd, void *to, void *from,
			size_t len);
long tf_linux_uffd_zeropage(const struct tf_os *os, int uffd, void *addr,
			    size_t len);
int tf_linux_uffd_poison(const struct tf_os *os, int uffd, void *addr,
			 size_t len);
int tf_linux_uffd_read(const struct tf_os *os, int uffd, struct uffd_msg *msg,
		       unsigned n);

int tf_linux_pagemap_open(const struct tf_os *os);
long tf_linux_pagemap_scan(const struct tf_os *os, int fd,
			   struct tf_scan *scan);
long tf_linux_pagemap_read(const struct tf_os *os, int fd, const void *addr,
			   uint64_t *entries, size_t n);

void tf_linux_wait_word(const struct tf_os *os, _Atomic uint32_t *word,
			uint32_t value, unsigned ms);
void tf_linux_wake_word(const struct tf_os *os, _Atomic uint32_t *word);
int tf_linux_timer(const struct tf_os *os);
int tf_linux_arm(const struct tf_os *os, int timer, unsigned ns);
int tf_linux_thread_id(const struct tf_os *os);
int tf_linux_tell_early(const struct tf_os *os);
int tf_linux_write_file(const struct tf_os *os, const char *path,
			const char *text);
int tf_linux_control(const struct tf_os *os, int fd, unsigned long request,
		     void *arg);

int tf_linux_hash(const struct tf_os *os, const void *page,
		  const uint8_t *secret, uint64_t *hash);
int tf_linux_equal(const struct tf_os *os, const void *a, const void *b,
		   size_t len);
int tf_linux_copy(const struct tf_os *os, void *to, const void *from,
		  size_t len);

#endif
