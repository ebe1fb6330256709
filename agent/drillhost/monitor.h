/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's monitor (QMP): stop and resume the machine, and run lines of the
 * monitor for people, which can do what QMP cannot. One thread.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_MONITOR_H
#define TWINFOLD_AGENT_DRILLHOST_MONITOR_H

#include "agent/drillhost/channel.h"

/* Read the greeting and begin. Errors are those of the channel, in all. */
int monitor_begin(struct channel *qmp);

int monitor_stop(struct channel *qmp);
int monitor_resume(struct channel *qmp);

/*
 * A line for people. *ret is what it printed, which the caller frees; NULL:
 * it is not wanted, and anything printed is an error (EIO).
 */
int monitor_line(struct channel *qmp, const char *line, char **ret);

#endif
