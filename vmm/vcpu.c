/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A vCPU and its thread: create, start, stop, the run loop.
 *
 * Stopping: `stop` and kvm_run.immediate_exit are set, then the signal is
 * sent. A thread inside KVM_RUN is interrupted by the signal; one that is on
 * its way in finds immediate_exit. So one signal is enough. A machine check
 * that waits (mce.c) interrupts the guest in the same way.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/internal.h"

enum tf_vcpu_state tf_vcpu_fail(struct tf_vcpu *vcpu, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(vcpu->why, sizeof(vcpu->why), fmt, ap);
	va_end(ap);
	return TF_VCPU_FAILED;
}

static void set_immediate_exit(struct tf_vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

static enum tf_vcpu_state run_once(struct tf_vcpu *vcpu)
{
	if (!ioctl(vcpu->fd, KVM_RUN, 0))
		return tf_vcpu_exit(vcpu);
	if (errno == EINTR || errno == EAGAIN)
		return TF_VCPU_RUNNING;
	return tf_vcpu_fail(vcpu, "KVM_RUN failed: %s", strerror(errno));
}

/* Whoever sets immediate_exit says first what for: that is looked at after
 * this. */
static bool is_stopped(struct tf_vcpu *vcpu)
{
	set_immediate_exit(vcpu, 0);
	return atomic_load(&vcpu->stop);
}

static void *vcpu_thread(void *arg)
{
	struct tf_vcpu *vcpu = arg;
	enum tf_vcpu_state state = TF_VCPU_RUNNING;

	tf_mce_vcpu_join(vcpu);
	while (state == TF_VCPU_RUNNING && !is_stopped(vcpu)) {
		if (vcpu->vm->engine)
			state = tf_vcpu_tell(vcpu);
		if (state == TF_VCPU_RUNNING)
			state = run_once(vcpu);
	}
	tf_mce_vcpu_leave(vcpu);
	if (state == TF_VCPU_RUNNING)
		state = TF_VCPU_STOPPED;
	atomic_store(&vcpu->state, (int)state);
	return NULL;
}

/* The process's other signals are for its other threads. */
static int create_thread(struct tf_vcpu *vcpu)
{
	static const int keep[] = { SIGBUS, SIGSEGV, SIGILL,
				    SIGFPE, SIGTRAP, SIGABRT };
	sigset_t block, old;
	int r;

	sigfillset(&block);
	for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); i++)
		sigdelset(&block, keep[i]);
	sigdelset(&block, TF_VCPU_KICK);
	pthread_sigmask(SIG_SETMASK, &block, &old);
	r = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static void join_thread(struct tf_vcpu *vcpu)
{
	if (vcpu->joinable)
		pthread_join(vcpu->thread, NULL);
	vcpu->joinable = false;
}

int tf_vcpu_start(struct tf_vcpu *vcpu)
{
	enum tf_vcpu_state state = tf_vcpu_state(vcpu);
	int r;

	if (state == TF_VCPU_RUNNING)
		return -EALREADY;
	if (state != TF_VCPU_STOPPED)
		return -EPERM;
	join_thread(vcpu);
	atomic_store(&vcpu->stop, false);
	atomic_store(&vcpu->state, TF_VCPU_RUNNING);
	r = create_thread(vcpu);
	if (r)
		atomic_store(&vcpu->state, TF_VCPU_STOPPED);
	else
		vcpu->joinable = true;
	return r;
}

int tf_vcpu_stop(struct tf_vcpu *vcpu)
{
	if (!vcpu->joinable)
		return 0;
	atomic_store(&vcpu->stop, true);
	set_immediate_exit(vcpu, 1);
	pthread_kill(vcpu->thread, TF_VCPU_KICK);
	join_thread(vcpu);
	return 0;
}

enum tf_vcpu_state tf_vcpu_state(const struct tf_vcpu *vcpu)
{
	return (enum tf_vcpu_state)atomic_load(&vcpu->state);
}

const char *tf_vcpu_why(const struct tf_vcpu *vcpu)
{
	return tf_vcpu_state(vcpu) == TF_VCPU_FAILED ? vcpu->why : "";
}

static int open_vcpu(struct tf_vcpu *vcpu)
{
	const struct tf_vm *vm = vcpu->vm;
	void *run;

	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, vm->nvcpus);
	if (vcpu->fd < 0)
		return -errno;
	run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vcpu->fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	vcpu->run = run;
	return vm->engine ? tf_vcpu_setup_mce(vcpu) : 0;
}

int tf_vcpu_create(struct tf_vm *vm, const struct tf_vcpu_opts *opts,
		   struct tf_vcpu **ret)
{
	struct tf_vcpu *vcpu;
	int r;

	if (!opts || opts->size != sizeof(*opts) || !opts->in || !opts->out)
		return -EINVAL;
	if (vm->vm_fd < 0)
		return -ENODEV;
	vcpu = calloc(1, sizeof(*vcpu));
	if (!vcpu)
		return -ENOMEM;
	vcpu->vm = vm;
	vcpu->fd = -1;
	vcpu->opts = *opts;
	r = open_vcpu(vcpu);
	if (r) {
		tf_vcpu_destroy(vcpu);
		return r;
	}
	vm->nvcpus++;
	*ret = vcpu;
	return 0;
}

void tf_vcpu_destroy(struct tf_vcpu *vcpu)
{
	if (!vcpu)
		return;
	tf_vcpu_stop(vcpu);
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	free(vcpu);
}
