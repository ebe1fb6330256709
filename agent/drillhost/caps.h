/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a host can do that drills need, found out by trying or looking. Leaves
 * nothing changed. No locks.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_CAPS_H
#define TWINFOLD_AGENT_DRILLHOST_CAPS_H

#include <stdint.h>

#include <jansson.h>

/* Bits of a set. caps.c has their names and what finds them out. */
enum cap {
	CAP_MEMORY_FAILURE,
	CAP_SOFT_OFFLINE,
	CAP_HARD_OFFLINE,
	CAP_HWPOISON_INJECT,
	CAP_MCE_POLL,
	CAP_CORRECTED,
	CAP_SUCCOR,
	CAP_NESTED_KVM,
	CAP_QEMU,
	CAP_QEMU_TELLS,
	CAP_APPARMOR,
	CAP_VFIO,
	CAP_MERGE,
	CAP_SCAN_DIRTY,
	CAP_UFFD_POISON,
	CAP_KSM,
	CAP_TWO_NODES,
	N_CAPS
};

#define CAP(name) (UINT32_C(1) << CAP_##name)

uint32_t caps_find(void);

/* Short name, and what it is. */
const char *caps_name(enum cap cap);
const char *caps_about(enum cap cap);

/* Names of a set, with ", " between them, or "nothing". */
void caps_list(uint32_t set, char *ret, unsigned room);

/* The kernel, the CPU, every capability: the caller owns it. */
json_t *caps_to_json(uint32_t set);

#endif
