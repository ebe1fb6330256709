/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of the control socket: ctl.c the socket, ctl_command.c what is
 * asked, ctl_run.c what is done, ctl_stats.c what is told. Everything runs in
 * the socket's thread.
 */
#ifndef TF_QEMU_CTL_H
#define TF_QEMU_CTL_H

#include <jansson.h>
#include <stddef.h>

/* The line that greets a client; the caller frees it. NULL: no memory. */
char *tq_ctl_greeting(void);
/* The answer to one line, likewise. */
char *tq_ctl_answer(const char *line, size_t len);

/* Where a command puts what it returns (a new reference), or what is wrong. */
struct tq_reply {
	json_t *ret;
	const char *class; /* NULL: nothing is wrong */
	char desc[300];
};

/* The first thing that is wrong is kept; `class` too, if it is set. */
void tq_ctl_fail(struct tq_reply *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The commands. Only "stats" can do without an engine. */
void tq_ctl_pass(const json_t *args, struct tq_reply *r);
void tq_ctl_start(const json_t *args, struct tq_reply *r);
void tq_ctl_stop(const json_t *args, struct tq_reply *r);
void tq_ctl_inject(const json_t *args, struct tq_reply *r);
void tq_ctl_unmerge(const json_t *args, struct tq_reply *r);

/* What "stats" returns; a new reference. */
json_t *tq_ctl_stats(void);

#endif
