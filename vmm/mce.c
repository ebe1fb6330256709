/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machine checks between the engine and the VMs of its guests. An engine has
 * one queue for all its guests; whoever takes from it may get one that is for
 * another VM. So all VMs are in one list of the process, and each has the
 * machine checks that are or were for it, one a page.
 *
 * `lock` protects that list, all that hangs on it, and the way from the
 * engine's queue to the VM: nothing is seen in neither place. Guest memory is
 * never touched under it.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "twinfold/ras.h"
#include "vmm/internal.h"

enum mce_state {
	MCE_WAITS,
	MCE_RAISED, /* by thread `by` */
	MCE_OVER,   /* the guest gave the page up, as the VM's `over`-th */
};

struct mce {
	struct tf_list link;
	struct tf_vmce vmce;
	enum mce_state state;
	pid_t by;
	uint64_t over;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tf_list vms = { &vms, &vms };

/* Caller holds `lock` wherever nothing else is said. */

static struct mce *find(const struct tf_vm *vm, uint64_t gpa)
{
	struct mce *m;

	tf_list_for_each(m, &vm->mces, link)
		if (m->vmce.gpa == gpa)
			return m;
	return NULL;
}

static struct tf_vm *vm_of(const struct tf_guest *guest)
{
	struct tf_vm *vm;

	tf_list_for_each(vm, &vms, link)
		if (vm->guest == guest)
			return vm;
	return NULL;
}

/* The guest leaves KVM_RUN, and its thread sees what waits. */
static void kick(const struct tf_vm *vm)
{
	struct tf_vcpu *vcpu;

	tf_list_for_each(vcpu, &vm->vcpus, link) {
		__atomic_store_n(&vcpu->run->immediate_exit, 1,
				 __ATOMIC_SEQ_CST);
		syscall(SYS_tgkill, getpid(), vcpu->tid, TF_VCPU_KICK);
	}
}

/* The engine tells of a page a second time when a guest touches it that was
 * told of it before, or two vCPUs do. */
static void told_again(struct tf_vm *vm, struct mce *m,
		       const struct tf_vmce *new)
{
	bool news = m->state == MCE_OVER || !new->action_required ||
		    new->tid == m->by;

	/* The first vCPU that touched it goes on as one that is told. */
	if (m->state == MCE_WAITS)
		news = new->action_required && !m->vmce.action_required;
	if (!news)
		return;
	if (m->state != MCE_WAITS) {
		tf_list_remove(&m->link);
		tf_list_append(&vm->mces, &m->link);
	}
	m->vmce = *new;
	m->state = MCE_WAITS;
}

/* False: `m` was not needed. */
static bool put(struct tf_vm *vm, struct mce *m)
{
	struct mce *old = find(vm, m->vmce.gpa);

	if (old)
		told_again(vm, old, &m->vmce);
	else
		tf_list_append(&vm->mces, &m->link);
	return !old;
}

/* One for thread `tid`, as tf_ras_take_vmce() says. Want of memory leaves it in
 * the engine, for the next time. */
static bool collect_one(struct tf_engine *e, pid_t tid)
{
	struct mce *m = calloc(1, sizeof(*m));
	struct tf_vm *vm = NULL;

	if (!m)
		return false;
	m->vmce.size = sizeof(m->vmce);
	if (tf_ras_take_vmce(e, tid, &m->vmce)) {
		free(m);
		return false;
	}
	vm = vm_of(m->vmce.guest);
	if (!vm || !put(vm, m))
		free(m);
	return true;
}

/* Does thread `tid` raise it? */
static bool is_for(const struct mce *m, pid_t tid)
{
	return m->state == MCE_WAITS && (!m->vmce.tid || m->vmce.tid == tid);
}

/* A VM whose own threads do not come by gets no further by itself. */
static void kick_those_that_wait(const struct tf_engine *e)
{
	const struct tf_vm *vm;
	const struct mce *m;

	tf_list_for_each(vm, &vms, link) {
		if (vm->engine != e)
			continue;
		tf_list_for_each(m, &vm->mces, link)
			if (m->state == MCE_WAITS) {
				kick(vm);
				break;
			}
	}
}

/* Without `lock`, as all that follows. */

void tf_mce_collect(struct tf_engine *engine)
{
	bool any = false;
	TF_LOCKED(&lock);

	while (collect_one(engine, gettid()))
		any = true;
	if (any)
		kick_those_that_wait(engine);
}

void tf_vm_deliver_vmces(struct tf_engine *engine)
{
	TF_LOCKED(&lock);

	while (collect_one(engine, gettid()))
		;
	kick_those_that_wait(engine);
}

bool tf_mce_take(struct tf_vm *vm, pid_t tid, struct tf_vmce *ret)
{
	struct mce *m, *best = NULL;
	TF_LOCKED(&lock);

	tf_list_for_each(m, &vm->mces, link) {
		if (!is_for(m, tid))
			continue;
		if (!best ||
		    m->vmce.action_required > best->vmce.action_required)
			best = m;
	}
	if (!best)
		return false;
	best->state = MCE_RAISED;
	best->by = tid;
	*ret = best->vmce;
	return true;
}

void tf_mce_put_back(struct tf_vm *vm, uint64_t gpa)
{
	struct mce *m;
	TF_LOCKED(&lock);

	m = find(vm, gpa);
	if (m)
		m->state = MCE_WAITS;
}

uint64_t tf_mce_moment(struct tf_vm *vm)
{
	TF_LOCKED(&lock);

	return vm->given_up;
}

enum tf_mce_about tf_mce_about(struct tf_vm *vm, uint64_t gpa, pid_t tid,
			       uint64_t since)
{
	const struct mce *m;
	TF_LOCKED(&lock);

	m = find(vm, gpa);
	if (!m || (m->state == MCE_OVER && m->over <= since))
		return TF_MCE_NONE;
	if (m->state == MCE_OVER)
		return TF_MCE_GIVEN_UP;
	return is_for(m, tid) ? TF_MCE_OURS : TF_MCE_OTHERS;
}

bool tf_mce_claim(struct tf_vm *vm, uint64_t gpa, pid_t tid)
{
	struct mce *m;
	TF_LOCKED(&lock);

	m = find(vm, gpa);
	if (!m || m->state == MCE_OVER)
		return false;
	m->vmce.tid = tid;
	m->vmce.action_required = 1;
	m->state = MCE_WAITS;
	return true;
}

int tf_vm_give_up(struct tf_vm *vm, uint64_t gpa)
{
	char *hva = tf_vm_hva(vm, gpa, TF_PAGE_SIZE);
	struct mce *m;
	int r;

	if (gpa % TF_PAGE_SIZE)
		return -EINVAL;
	if (!hva)
		return -ENOENT;
	r = tf_vm_discard(vm, gpa, hva);
	if (r)
		return r;
	pthread_mutex_lock(&lock);
	/* What the engine said of the page before: to other vCPUs as well. It
	 * says no more, now that the page is a new one. */
	while (vm->engine && collect_one(vm->engine, 0))
		;
	m = find(vm, gpa);
	vm->given_up++;
	if (m) {
		m->state = MCE_OVER;
		m->over = vm->given_up;
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

void tf_mce_join(struct tf_vm *vm)
{
	TF_LOCKED(&lock);

	tf_list_append(&vms, &vm->link);
}

void tf_mce_leave(struct tf_vm *vm)
{
	struct tf_list *head = &vm->mces;
	TF_LOCKED(&lock);

	tf_list_remove(&vm->link);
	for (struct tf_list *at = head->next, *next; at != head; at = next) {
		next = at->next;
		free(tf_container_of(at, struct mce, link));
	}
	tf_list_init(head);
}

void tf_mce_vcpu_join(struct tf_vcpu *vcpu)
{
	TF_LOCKED(&lock);

	vcpu->tid = gettid();
	tf_list_append(&vcpu->vm->vcpus, &vcpu->link);
}

void tf_mce_vcpu_leave(struct tf_vcpu *vcpu)
{
	TF_LOCKED(&lock);

	tf_list_remove(&vcpu->link);
}
