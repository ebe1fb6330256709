/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `twinfold bench qemu`: what its parts share. A guest is an unmodified
 * qemu-system-x86_64 with a Linux kernel and one program (agent/guest), with
 * or without libtwinfold-qemu.so. Files that it needs have no names, and it
 * dies with the process that started it.
 *
 * For one thread. Functions that return int return an exit code and have
 * said why.
 */
#ifndef TWINFOLD_AGENT_BENCH_QEMU_H
#define TWINFOLD_AGENT_BENCH_QEMU_H

#include <limits.h>
#include <stdio.h>
#include <sys/types.h>

#include "agent/bench.h"

#define QEMU_PROGRAM "qemu-system-x86_64"
#define QEMU_MIN_MIB 128 /* a distribution's kernel needs that */

/* What all guests are made of. */
struct qemu_host {
	char kernel[PATH_MAX];
	char library[PATH_MAX];
	int initrd; /* a memfd */
	unsigned mem_mib;
};

struct qemu_guest {
	pid_t pid;       /* 0: does not run */
	int console;     /* a memfd; what the guest has written so far */
	FILE *to, *from; /* the control socket; NULL without the library */
	uintptr_t ram;
	size_t pages;
	bool *present; /* by page: was there when qemu_note_pages() looked */
};

/* bench_qemu_host.c: TF_EXIT_HOST when something is missing. */
int qemu_host_find(const struct bench_opts *opts, struct qemu_host *ret);

/* bench_qemu_initrd.c: a memfd with an initramfs, or a negative errno. */
int qemu_initrd(void);

/* bench_qemu_guest.c */
enum {
	QEMU_WITHOUT,
	QEMU_WITH
};
/* `seconds` for the guest's measuring; 0: it is idle at once. */
int qemu_start(const struct qemu_host *host, int library, double seconds,
	       struct qemu_guest *ret);
/* Wait for a line that begins so; the caller frees it. NULL: said why. */
char *qemu_wait_line(const struct qemu_guest *guest, const char *begin,
		     double seconds);
void qemu_stop(struct qemu_guest *guest);

/* bench_qemu_ctl.c: the library's control socket. */
int qemu_ctl_open(struct qemu_guest *guest, const char *path);
/* A command without arguments; the caller owns the answer. NULL: said why. */
json_t *qemu_ask(struct qemu_guest *guest, const char *command);

/* bench_qemu_memory.c */
int qemu_note_pages(struct qemu_guest *guest, unsigned mem_mib);
/* Read all noted pages, as a guest would. */
int qemu_touch(const struct qemu_guest *guest);
/* CPU time of the library's threads but the one that answers the bench. */
uint64_t qemu_library_cpu_ns(const struct qemu_guest *guest);

/* bench_qemu_merge.c: `n` guests, merged together by one of the sides. */
struct qemu_merged {
	double saved_bytes, cpu_s, wall_s, steady_cpu_s;
	double shared, sharing, scans;
	double scan_cpu_s; /* of one scan or pass, steady */
};
int qemu_merge(const struct bench_opts *opts, const struct qemu_host *host,
	       int library, unsigned n, struct qemu_merged *ret);

/* bench_qemu_rate.c: guest_write_ratio and guest_read_ratio into `out`. */
int qemu_rates(const struct bench_opts *opts, const struct qemu_host *host,
	       json_t *out);

#endif
