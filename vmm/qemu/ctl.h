/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of the control socket: ctl.c the socket, ctl_command.c what is
 * asked, ctl_stats.c what is told. Everything runs in the socket's thread. */
#ifndef TF_QEMU_CTL_H
#define TF_QEMU_CTL_H

#include <jansson.h>
#include <stddef.h>

/* The line that greets a client; the caller frees it. NULL: no memory. */
char *tq_ctl_greeting(void);
/* The answer to one line, likewise. */
char *tq_ctl_answer(const char *line, size_t len);

/* What "stats" returns; a new reference. */
json_t *tq_ctl_stats(void);

#endif
