/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting the library's own threads. The embedder's signals are for the
 * embedder's threads; memory errors are for whoever meets them.
 */
#ifndef TF_BASE_THREAD_H
#define TF_BASE_THREAD_H

#include <pthread.h>

/* As pthread_create(), with every signal but SIGBUS and SIGSEGV blocked. 0 or
 * -errno. */
int tf_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
