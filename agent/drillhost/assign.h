/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PCI device that a drill host has to spare (QEMU's "edu"), for VFIO.
 * Errors are negative errno. No locks.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_ASSIGN_H
#define TWINFOLD_AGENT_DRILLHOST_ASSIGN_H

#include <stdbool.h>

#define ASSIGN_NAME_MAX 32

/* Is there one, behind an IOMMU? */
bool assign_possible(void);

/* Its address, as QEMU wants it; VFIO has it when this returns. ENODEV. */
int assign_take(char ret[ASSIGN_NAME_MAX]);

#endif
