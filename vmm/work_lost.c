/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The workload's host side of lost pages: the machine checks that the guest
 * reports, the pages it gives up, and what its own book says of a page. In a
 * thread, whose accesses the SIGBUS handler mends, the host takes the notes
 * that a vCPU's #MC handler takes, whenever the thread calls.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "twinfold/ras.h"
#include "vmm/internal.h"
#include "vmm/payload/pattern.h"
#include "vmm/work.h"

_Static_assert(TF_WORK_TWINS == TWINS, "one number");

#define LOG_FIRST 16

static int log_grow(struct tf_work *work)
{
	size_t room = work->log_room ? 2 * work->log_room : LOG_FIRST;
	struct tf_work_mce *log = realloc(work->log, room * sizeof(*log));

	if (!log)
		return -ENOMEM;
	work->log = log;
	work->log_room = room;
	return 0;
}

/* Want of memory shows: `mces` counts what the log has not. */
static void log_mce(struct tf_work *work, uint64_t gpa, int required)
{
	TF_LOCKED(&work->lock);

	work->report.mces++;
	if (work->nlog == work->log_room && log_grow(work))
		return;
	work->log[work->nlog++] = (struct tf_work_mce){
		.size = sizeof(struct tf_work_mce),
		.gpa = gpa,
		.required = required,
	};
}

int tf_work_take_mce(struct tf_work *work, struct tf_work_mce *ret)
{
	TF_LOCKED(&work->lock);

	if (ret->size != sizeof(*ret))
		return -EINVAL;
	if (!work->nlog)
		return -EAGAIN;
	*ret = work->log[0];
	work->nlog--;
	for (size_t i = 0; i < work->nlog; i++)
		work->log[i] = work->log[i + 1];
	return 0;
}

/* It is sent away, as far as it still comes. */
static void die(struct tf_work *work, uint64_t gpa)
{
	atomic_store(&work->dead_gpa, gpa ? gpa : 1);
	atomic_store(&work->command, (unsigned)TF_GW_DONE);
}

bool tf_work_lost_out(struct tf_work *work, uint16_t port, uint32_t value)
{
	switch (port) {
	case TF_GW_PORT_MCE:
		log_mce(work, value & ~1u, value & 1);
		return true;
	case TF_GW_PORT_GIVE_UP:
		if (tf_vm_give_up(work->vm, value))
			die(work, value);
		return true;
	case TF_GW_PORT_DEAD:
		die(work, value);
		return true;
	default:
		return false;
	}
}

static void take_note(struct tf_work *work, const struct tf_vmce *vmce)
{
	struct tf_gw_mces *m = work->mces;
	struct tf_gw_mce *note = &m->ring[m->count % TF_GW_MCE_RING];

	note->gpa = (uint32_t)vmce->gpa;
	m->count++;
	m->required += vmce->action_required != 0;
	log_mce(work, vmce->gpa, vmce->action_required != 0);
}

void tf_work_take_pending(struct tf_work *work)
{
	const struct tf_gw_mces *m = work->mces;
	struct tf_vmce vmce;

	if (work->vcpu || !work->vm->engine)
		return;
	tf_mce_collect(work->vm->engine);
	while (m->count - m->handled < TF_GW_MCE_RING &&
	       tf_mce_take(work->vm, gettid(), &vmce))
		take_note(work, &vmce);
}

static const struct tf_gw_page *book(const struct tf_work *work)
{
	uint64_t table = work->config->table;

	if (!work->vcpu)
		return (const struct tf_gw_page *)(uintptr_t)table;
	return tf_vm_hva(work->vm, table, 1);
}

static uint64_t gpa_of(const struct tf_gw_config *c, uint64_t n)
{
	if (n < c->seg[0].pages)
		return c->seg[0].gpa + n * TF_PAGE_SIZE;
	return c->seg[1].gpa + (n - c->seg[0].pages) * TF_PAGE_SIZE;
}

int tf_work_page(struct tf_work *work, uint64_t n, struct tf_work_page *ret)
{
	const struct tf_gw_config *c = work->config;
	const struct tf_gw_page *e;
	uint32_t kind, id;

	if (ret->size != sizeof(*ret) ||
	    n >= (uint64_t)c->seg[0].pages + c->seg[1].pages)
		return -EINVAL;
	e = &book(work)[n];
	/* The guest may be writing there: what is hot does not last. */
	kind = __atomic_load_n(&e->kind, __ATOMIC_RELAXED);
	id = __atomic_load_n(&e->id, __ATOMIC_RELAXED);
	ret->gpa = gpa_of(c, n);
	ret->kind = (enum tf_work_kind)kind;
	ret->content = kind == TF_GW_ZERO ? 0 : id;
	ret->hot = pattern_works_on((uint32_t)n);
	return 0;
}
