/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The functions behind those that the library stands in front of, and what
 * the library and the engine call in their place (__wrap_*, bound by the
 * linker). Nothing here takes a lock.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/qemu/preload.h"

__thread bool tq_inside __attribute__((tls_model("initial-exec")));

static struct tq_real real;
static atomic_bool resolved;

static void *next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	/* Without the C library's own mmap() there is nothing to run in. */
	if (!found)
		abort();
	return found;
}

/* Twice at the same time does no harm. */
static void resolve(void)
{
	int saved = errno;

	*(void **)&real.mmap = next("mmap");
	*(void **)&real.munmap = next("munmap");
	*(void **)&real.mremap = next("mremap");
	*(void **)&real.mprotect = next("mprotect");
	*(void **)&real.madvise = next("madvise");
	*(void **)&real.mlockall = next("mlockall");
	*(void **)&real.ioctl = next("ioctl");
	*(void **)&real.open = next("open");
	*(void **)&real.openat = next("openat");
	*(void **)&real.fcntl = next("fcntl");
	*(void **)&real.recvmsg = next("recvmsg");
	*(void **)&real.sigaction = next("sigaction");
	*(void **)&real.pthread_sigmask = next("pthread_sigmask");
	atomic_store(&resolved, true);
	errno = saved;
}

const struct tq_real *tq_real(void)
{
	if (!atomic_load(&resolved))
		resolve();
	return &real;
}

/* Signal handlers use the table: it must not be made in one. */
__attribute__((constructor)) static void resolve_early(void)
{
	tq_real();
}

/* --- what the engine calls ----------------------------------------------- */

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_sigaction(int sig, const struct sigaction *act,
		     struct sigaction *old);
void (*__wrap_signal(int sig, void (*handler)(int)))(int);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	return tq_real()->pthread_sigmask(how, set, old);
}

int __wrap_sigaction(int sig, const struct sigaction *act,
		     struct sigaction *old)
{
	if (sig == SIGBUS)
		return tq_sigbus_engine_action(act, old);
	return tq_real()->sigaction(sig, act, old);
}

/* The engine's way to say: the default action, now. */
void (*__wrap_signal(int sig, void (*handler)(int)))(int)
{
	struct sigaction act = { .sa_handler = handler }, old;

	if (tq_real()->sigaction(sig, &act, &old))
		return SIG_ERR;
	return old.sa_handler;
}

struct start {
	void *(*run)(void *);
	void *arg;
};

static void *run_inside(void *arg)
{
	struct start start = *(struct start *)arg;

	free(arg);
	tq_inside = true;
	return start.run(start.arg);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg)
{
	struct start *start = malloc(sizeof(*start));
	int err;

	if (!start)
		return EAGAIN;
	*start = (struct start){ .run = run, .arg = arg };
	err = __real_pthread_create(thread, attr, run_inside, start);
	if (err)
		free(start);
	return err;
}
