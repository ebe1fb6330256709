/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The registry, see case.h. */
#include <string.h>

#include "agent/drillhost/case.h"

extern const struct drill_case drill_vmm_deferred_shared;
extern const struct drill_case drill_vmm_deferred_zero;
extern const struct drill_case drill_vmm_deferred_unique;
extern const struct drill_case drill_vmm_consumed_shared;
extern const struct drill_case drill_vmm_consumed_unique;
extern const struct drill_case drill_lib_srao_shared;
extern const struct drill_case drill_lib_srao_zero;
extern const struct drill_case drill_lib_srao_unique;
extern const struct drill_case drill_lib_srar_shared;
extern const struct drill_case drill_lib_restart;
extern const struct drill_case drill_vmm_offline_shared;
extern const struct drill_case drill_vmm_offline_unique;
extern const struct drill_case drill_vmm_corrupt_shared;
extern const struct drill_case drill_vmm_corrupt_unique;
extern const struct drill_case drill_vmm_soft_shared;
extern const struct drill_case drill_vmm_soft_unique;
extern const struct drill_case drill_vmm_soft_own;
extern const struct drill_case drill_lib_corrected_shared;
extern const struct drill_case drill_lib_corrected_unique;
extern const struct drill_case drill_vmm_copies_in_turn;
extern const struct drill_case drill_vmm_copies_at_once;
extern const struct drill_case drill_vmm_storm;
extern const struct drill_case drill_vmm_nodes_across;
extern const struct drill_case drill_vmm_nodes_within;
extern const struct drill_case drill_qemu_deferred_shared;
extern const struct drill_case drill_qemu_deferred_zero;
extern const struct drill_case drill_qemu_deferred_unique;
extern const struct drill_case drill_qemu_consumed_shared;
extern const struct drill_case drill_qemu_consumed_unique;
extern const struct drill_case drill_qemu_confined;
extern const struct drill_case drill_qemu_sharing;
extern const struct drill_case drill_qemu_assigned;

/* clang-format off */
const struct drill_case *const drill_cases[] = {
	&drill_vmm_deferred_shared,
	&drill_vmm_deferred_zero,
	&drill_vmm_deferred_unique,
	&drill_vmm_consumed_shared,
	&drill_vmm_consumed_unique,
	&drill_lib_srao_shared,
	&drill_lib_srao_zero,
	&drill_lib_srao_unique,
	&drill_lib_srar_shared,
	&drill_lib_restart,
	&drill_vmm_offline_shared,
	&drill_vmm_offline_unique,
	&drill_vmm_corrupt_shared,
	&drill_vmm_corrupt_unique,
	&drill_vmm_soft_shared,
	&drill_vmm_soft_unique,
	&drill_vmm_soft_own,
	&drill_lib_corrected_shared,
	&drill_lib_corrected_unique,
	&drill_vmm_copies_in_turn,
	&drill_vmm_copies_at_once,
	&drill_vmm_storm,
	&drill_vmm_nodes_across,
	&drill_vmm_nodes_within,
	&drill_qemu_deferred_shared,
	&drill_qemu_deferred_zero,
	&drill_qemu_deferred_unique,
	&drill_qemu_consumed_shared,
	&drill_qemu_consumed_unique,
	&drill_qemu_confined,
	&drill_qemu_sharing,
	&drill_qemu_assigned,
	NULL,
};
/* clang-format on */

const struct drill_case *drill_case_find(const char *name)
{
	for (size_t i = 0; drill_cases[i]; i++)
		if (!strcmp(drill_cases[i]->name, name))
			return drill_cases[i];
	return NULL;
}
