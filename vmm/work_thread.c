/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The workload without KVM: the guest's program, compiled for the host, in a
 * thread; its ports are calls. Same program, same RAM layout.
 */
#include "vmm/work.h"

static struct tf_work *work_of(const struct tf_gw_config *cfg)
{
	return (struct tf_work *)(uintptr_t)cfg->host;
}

uint32_t tf_gw_in(const struct tf_gw_config *cfg, uint16_t port)
{
	return tf_work_port_in(work_of(cfg), port);
}

void tf_gw_out(const struct tf_gw_config *cfg, uint16_t port, uint32_t value)
{
	tf_work_port_out(work_of(cfg), port, value);
}

void tf_gw_try(const struct tf_gw_config *cfg, void (*fn)(void *), void *arg)
{
	(void)cfg;
	fn(arg);
}

void tf_gw_listen(const struct tf_gw_config *cfg)
{
	(void)cfg;
}

static void *work_thread(void *arg)
{
	struct tf_work *work = arg;

	tf_gw_main(work->config);
	return NULL;
}

int tf_work_thread_start(struct tf_work *work)
{
	return -pthread_create(&work->thread, NULL, work_thread, work);
}
