/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host side of the checking workload: its life, its ports, its report.
 *
 * `lock` protects the report. Guest memory is never touched while it is held:
 * a page of it may be fenced by the engine.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/cleanup.h"
#include "vmm/work.h"

_Static_assert((int)TF_WORK_OVERWRITE == (int)TF_GW_OVERWRITE, "one order");
_Static_assert(TF_WORK_PHASES == TF_GW_PHASES, "one set of phases");
_Static_assert((int)TF_WORK_TWIN == (int)TF_GW_TWIN, "one order");

/* A guest that has nothing to do asks again after this. */
#define IDLE_NS 1000000

/* ---- ports, in the guest's thread ---- */

static void read_mailbox(struct tf_work *work)
{
	struct tf_gw_mailbox box = *work->mailbox;
	TF_LOCKED(&work->lock);

	work->report.phase = (enum tf_work_phase)box.phase;
	work->report.ready = (int)box.ready;
	work->report.filled = box.filled;
	work->report.checks = box.checks;
	work->report.writes = box.writes;
	work->report.failures = box.failures;
	memcpy(work->report.rounds, box.rounds, sizeof(box.rounds));
	work->report.wrong_bytes = box.wrong_bytes;
	work->report.lost_writes = box.lost_writes;
	work->report.lost_pages = box.lost_pages;
}

static bool is_idle(struct tf_work *work, unsigned command)
{
	TF_LOCKED(&work->lock);

	return command < TF_GW_RUN && work->report.phase == command;
}

static uint32_t sync_port(struct tf_work *work)
{
	static const struct timespec pause = { .tv_nsec = IDLE_NS };
	unsigned command;

	read_mailbox(work);
	command = atomic_load(&work->command);
	if (is_idle(work, command))
		nanosleep(&pause, NULL);
	return command;
}

static void bad_page(struct tf_work *work, uint64_t gpa)
{
	TF_LOCKED(&work->lock);

	if (work->nbad < TF_WORK_BAD_MAX)
		work->report.bad_gpa[work->nbad++] = gpa;
}

/* As a real port that has no device: all ones. */
uint32_t tf_work_port_in(void *user, uint16_t port)
{
	if (port != TF_GW_PORT_SYNC && port != TF_GW_PORT_PENDING)
		return UINT32_MAX;
	tf_work_take_pending(user);
	return port == TF_GW_PORT_SYNC ? sync_port(user) : 0;
}

void tf_work_port_out(void *user, uint16_t port, uint32_t value)
{
	if (!tf_work_lost_out(user, port, value) && port == TF_GW_PORT_BAD)
		bad_page(user, value);
}

/* ---- life ---- */

static int check_opts(const struct tf_work_opts *opts)
{
	if (!opts || opts->size != sizeof(*opts))
		return -EINVAL;
	if (opts->id < 1 || opts->id > UINT16_MAX)
		return -EINVAL;
	if (opts->bytes < TF_WORK_MEM_MIN || opts->bytes > TF_WORK_MEM_MAX ||
	    opts->bytes % TF_PAGE_SIZE)
		return -EINVAL;
	return 0;
}

static int build(struct tf_work *work, const struct tf_work_opts *opts)
{
	struct tf_vm_opts vm = {
		.size = sizeof(vm),
		.backend = opts->backend,
		.guest = opts->guest,
		.engine = opts->engine,
	};
	struct tf_vcpu_opts vcpu = {
		.size = sizeof(vcpu),
		.in = tf_work_port_in,
		.out = tf_work_port_out,
		.user = work,
	};
	int r = tf_vm_create(&vm, &work->vm);

	if (!r && opts->backend == TF_BACKEND_KVM)
		r = tf_vcpu_create(work->vm, &vcpu, &work->vcpu);
	if (!r)
		r = tf_work_load(work, opts);
	return r;
}

int tf_work_create(const struct tf_work_opts *opts, struct tf_work **ret)
{
	struct tf_work *work;
	int r = check_opts(opts);

	if (r)
		return r;
	work = calloc(1, sizeof(*work));
	if (!work)
		return -ENOMEM;
	pthread_mutex_init(&work->lock, NULL);
	work->backend = opts->backend;
	work->report.size = sizeof(work->report);
	r = build(work, opts);
	if (r) {
		tf_work_destroy(work);
		return r;
	}
	*ret = work;
	return 0;
}

void tf_work_destroy(struct tf_work *work)
{
	if (!work)
		return;
	tf_work_stop(work);
	tf_vcpu_destroy(work->vcpu);
	tf_vm_destroy(work->vm);
	pthread_mutex_destroy(&work->lock);
	free(work->log);
	free(work);
}

int tf_work_start(struct tf_work *work)
{
	int r;

	if (work->started)
		return -EALREADY;
	if (work->vcpu)
		r = tf_vcpu_start(work->vcpu);
	else
		r = tf_work_thread_start(work);
	work->started = work->joinable = !r;
	return r;
}

int tf_work_command(struct tf_work *work, enum tf_work_phase phase)
{
	if ((unsigned)phase >= TF_WORK_PHASES ||
	    (unsigned)phase < atomic_load(&work->command))
		return -EINVAL;
	atomic_store(&work->command, (unsigned)phase);
	return 0;
}

int tf_work_stop(struct tf_work *work)
{
	if (!work->joinable)
		return 0;
	work->joinable = false;
	if (work->vcpu) {
		tf_vcpu_stop(work->vcpu);
	} else {
		atomic_store(&work->command, (unsigned)TF_GW_DONE);
		pthread_join(work->thread, NULL);
	}
	read_mailbox(work);
	return 0;
}

/* ---- what it says ---- */

static int has_died(const struct tf_work *work)
{
	if (atomic_load(&work->dead_gpa))
		return 1;
	if (!work->vcpu)
		return 0;
	switch (tf_vcpu_state(work->vcpu)) {
	case TF_VCPU_FAILED:
		return 1;
	case TF_VCPU_HALTED:
		return atomic_load(&work->command) != TF_GW_DONE;
	default:
		return 0;
	}
}

int tf_work_report(struct tf_work *work, struct tf_work_report *ret)
{
	if (ret->size != sizeof(*ret))
		return -EINVAL;
	pthread_mutex_lock(&work->lock);
	*ret = work->report;
	pthread_mutex_unlock(&work->lock);
	ret->died = has_died(work);
	return 0;
}

const char *tf_work_why(const struct tf_work *work)
{
	if (!has_died(work))
		return "";
	if (atomic_load(&work->dead_gpa))
		return "it lost a page that it cannot do without";
	if (tf_vcpu_state(work->vcpu) == TF_VCPU_HALTED)
		return "it halted before it was told to";
	return tf_vcpu_why(work->vcpu);
}

struct tf_vm *tf_work_vm(struct tf_work *work)
{
	return work->vm;
}

struct tf_vcpu *tf_work_vcpu(struct tf_work *work)
{
	return work->vcpu;
}
