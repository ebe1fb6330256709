/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scope cleanup: a lock or buffer is given back where its scope ends, on
 * every way out. Never use it for a thing whose ownership may leave the
 * scope without being cleared.
 */
#ifndef TF_BASE_CLEANUP_H
#define TF_BASE_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>

static inline void tf_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void tf_cleanup_unlock(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}

#define TF_AUTOFREE __attribute__((cleanup(tf_cleanup_free)))

#define TF_CAT2(a, b) a##b
#define TF_CAT(a, b) TF_CAT2(a, b)

static inline pthread_mutex_t *tf_lock_scope(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

/* Hold `mutex` until the enclosing scope ends. */
#define TF_LOCKED(mutex)                                                       \
	pthread_mutex_t *TF_CAT(tf_locked_, __LINE__)                          \
		__attribute__((cleanup(tf_cleanup_unlock), unused)) =          \
			tf_lock_scope(mutex)

#endif
