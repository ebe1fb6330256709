/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's #MC handler, called by entry.S on the stack of what it
 * interrupted. Freestanding only. It takes notes and clears the bank; MCIP is
 * cleared last, so that the next one comes after the return.
 */
#include <stdbool.h>

#include "vmm/payload/guest.h"
#include "vmm/payload/mce.h"

/* Intel SDM volume 4; the bank is the one that virtual machines use. */
#define MSR_MCG_STATUS 0x17a
#define BANK 9
#define MSR_STATUS (0x401 + 4 * BANK)
#define MSR_ADDR (MSR_STATUS + 1)
#define MCG_EIPV 2 /* the interrupted instruction cannot go on */
#define CR4_MCE 0x40

static uint64_t read_msr(uint32_t msr)
{
	uint64_t value;

	__asm__ volatile("rdmsr" : "=A"(value) : "c"(msr));
	return value;
}

static void clear_msr(uint32_t msr)
{
	__asm__ volatile("wrmsr" : : "A"(UINT64_C(0)), "c"(msr));
}

static void take_note(struct tf_gw_mces *m, struct tf_gw_mce *mce)
{
	mce->status = read_msr(MSR_STATUS);
	mce->gpa = (uint32_t)read_msr(MSR_ADDR) & ~4095u;
	mce->mcg = (uint32_t)read_msr(MSR_MCG_STATUS);
	m->count++;
	m->required += (mce->mcg & MCG_EIPV) != 0;
}

/* True: what was interrupted is to be ended. */
uint32_t tf_gw_machine_check(void)
{
	const struct tf_gw_config *cfg =
		(const struct tf_gw_config *)TF_GW_CONFIG;
	struct tf_gw_mces *m = (struct tf_gw_mces *)TF_GW_MCES;
	struct tf_gw_mce *mce = &m->ring[m->count % TF_GW_MCE_RING];
	bool busy;

	take_note(m, mce);
	busy = m->stack && m->busy == mce->gpa;
	tf_gw_out(cfg, TF_GW_PORT_MCE, mce->gpa | ((mce->mcg & MCG_EIPV) != 0));
	/* Nothing to go back to, or more than can be remembered. */
	if ((!busy && (mce->mcg & MCG_EIPV)) ||
	    m->count - m->handled > TF_GW_MCE_RING)
		tf_gw_out(cfg, TF_GW_PORT_DEAD, mce->gpa);
	clear_msr(MSR_STATUS);
	clear_msr(MSR_MCG_STATUS);
	return busy;
}

void tf_gw_listen(const struct tf_gw_config *cfg)
{
	uint32_t cr4;

	if (cfg->deaf)
		return;
	__asm__ volatile("movl %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("movl %0, %%cr4" : : "r"(cr4 | CR4_MCE));
}
