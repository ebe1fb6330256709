/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What entry.S calls when a machine check comes. */
#ifndef TF_VMM_PAYLOAD_MCE_H
#define TF_VMM_PAYLOAD_MCE_H

#include <stdint.h>

uint32_t tf_gw_machine_check(void);

#endif
