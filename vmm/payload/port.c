/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the guest's program reaches the host from a vCPU: port I/O. Freestanding
 * only. Memory is written back first: the host reads the mailbox.
 */
#include "vmm/payload/guest.h"

uint32_t tf_gw_in(const struct tf_gw_config *cfg, uint16_t port)
{
	uint32_t value;

	(void)cfg;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

void tf_gw_out(const struct tf_gw_config *cfg, uint16_t port, uint32_t value)
{
	(void)cfg;
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
