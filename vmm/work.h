/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host side of the checking workload: its struct, and the two ends of its
 * ports, which the vCPU's callbacks and the thread backend both call.
 */
#ifndef TF_VMM_WORK_H
#define TF_VMM_WORK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "twinfold/vmm.h"
#include "vmm/payload/guest.h"

struct tf_work {
	enum tf_backend backend;
	struct tf_vm *vm;
	struct tf_vcpu *vcpu; /* NULL with TF_BACKEND_THREAD */
	pthread_t thread;     /* with TF_BACKEND_THREAD */
	bool started;         /* owner only, as `joinable` */
	bool joinable;
	/* Both in guest RAM. */
	struct tf_gw_config *config;
	struct tf_gw_mailbox *mailbox;
	struct tf_gw_mces *mces;
	atomic_uint command; /* enum tf_gw_phase */
	pthread_mutex_t lock;
	struct tf_work_report report; /* protected by `lock` */
	unsigned nbad;                /* protected by `lock` */
	/* Machine checks that nobody took yet; protected by `lock`. */
	struct tf_work_mce *log;
	size_t nlog, log_room;
	/* Its death by a page it cannot do without; 0: none. */
	atomic_ullong dead_gpa;
};

/* The guest's ports, called in the guest's thread. `user`: the workload. */
uint32_t tf_work_port_in(void *user, uint16_t port);
void tf_work_port_out(void *user, uint16_t port, uint32_t value);

/* work_lost.c: the ports that have to do with lost pages. False: another. */
bool tf_work_lost_out(struct tf_work *work, uint16_t port, uint32_t value);
/* In a thread: what a vCPU would take by itself. */
void tf_work_take_pending(struct tf_work *work);

/* Lay out guest RAM, write the payload and its config. */
int tf_work_load(struct tf_work *work, const struct tf_work_opts *opts);

/* The thread backend. */
int tf_work_thread_start(struct tf_work *work);

#endif
