/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside a drill host: a Linux guest of an unmodified QEMU with KVM, whose
 * processes check their own memory (agent/guest/linux_work.c); with the preload
 * library (ROW_TWINFOLD), or without it and with the kernel's KSM
 * (ROW_BASELINE).
 *
 * Functions that return int return 0, or a negative errno and have blamed the
 * row. ESRCH means that the guest or its QEMU has ended, which is told as the
 * outcome and is no blame in the baseline. QEMU dies with the cell's process.
 * For the cell's own thread.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_INNER_H
#define TWINFOLD_AGENT_DRILLHOST_INNER_H

#include <sys/types.h>

#include "agent/drillhost/assign.h"
#include "agent/drillhost/confine.h"
#include "agent/drillhost/victim.h"

/* Of what the guest has one page that can be lost. */
enum inner_kind {
	INNER_COMMON, /* a content that many pages have */
	INNER_ZERO,
	INNER_UNIQUE
};

/* What the guest said last. */
struct inner_report {
	uint64_t number;                /* of the report, from 1 */
	uint64_t gpa[INNER_UNIQUE + 1]; /* 0: none yet */
	uint64_t rounds, owner_rounds;
	uint64_t checks, failures, wrong_bytes, lost_writes;
	int keeper, owner; /* signals that ended its processes; 0: none */
};

struct inner_opts {
	bool late; /* the kernel tells QEMU of no page that nobody touched */
	enum confine confine;
	bool assigned; /* with the host's spare PCI device */
	bool early;    /* merged while it boots, too */
};

struct inner {
	struct cell *cell;
	char device[ASSIGN_NAME_MAX]; /* "": none */
	struct inner_opts opts;
	pid_t pid;
	bool ended;
	int console, reports, errors; /* memfds: serial line, port, stderr */
	int qmp_fd;
	char ctl_path[64];
	struct channel qmp, ctl;
	struct inner_report now;
	uint64_t corrupted; /* frames lost before the first fault, and since */
};

/* ---- inner_start.c ---- */

/* Boot it; both processes have been through their memory when this returns.
 * Nothing is merged before inner_merge(), unless opts.early: a guest that is
 * merged at full pace takes several times as long to boot. */
int inner_start(struct cell *cell, const struct inner_opts *opts,
		struct inner *inner);

/* End it; another may follow. */
void inner_end(struct inner *inner);

/* The QEMU of guests: a path, or a name to be looked for in PATH. */
const char *inner_qemu(void);

/* All that one of the memfds holds; the caller frees it. NULL: no memory. */
char *inner_text(int fd);

/* ---- inner_look.c ---- */

/* Blame the row, and return `r`. */
int inner_failed(const struct inner *inner, const char *what, int r);
/* Read what the guest said. */
int inner_look(struct inner *inner);
/* Until both processes went through all their memory `more` times, or have
 * ended. */
int inner_rounds(struct inner *inner, uint64_t more);
/* A command of the library's control socket: takes the reference to `request`,
 * and the caller owns what it returns. */
int inner_ask(struct inner *inner, json_t *request, json_t **ret);
/* The same, and a refusal (EPROTO) is no blame. */
int inner_try(struct inner *inner, json_t *request, json_t **ret);
/* One without arguments and answer; nothing in the baseline. */
int inner_command(struct inner *inner, const char *name);
/* The library's counters, likewise. */
int inner_stats(struct inner *inner, json_t **ret);
/* One of them; 0: it cannot be had. */
uint64_t inner_stat(struct inner *inner, const char *name);
/* Where that guest page lies in QEMU, and in the drill host. */
int inner_hva(struct inner *inner, uint64_t gpa, uint64_t *ret);
int inner_pa(struct inner *inner, uint64_t gpa, uint64_t *ret);
/* Have whoever merges begin. */
int inner_start_merging(struct inner *inner);
/* Merge all that has a twin; until that page is shared, and can be healed. */
int inner_merge(struct inner *inner, enum inner_kind kind);

/* ---- inner_sharing.c ---- */

/* Until whoever merges has been through all memory several times. */
int inner_settle(struct inner *inner);
/* Nothing was lost: what the guest found, and what is shared in it. */
void inner_count(struct inner *inner);

/* ---- inner_fault.c ---- */

/* A whole drill of one fault, for both configurations. */
struct inner_fault {
	struct inner_opts opts;
	enum inner_kind kind;
};
void inner_one_fault(struct cell *cell, const struct inner_fault *fault);

/* ---- inner_verdict.c ---- */

/* The page that was lost; enters the verdict into the row. */
void inner_judge(struct inner *inner, uint64_t gpa, enum inner_kind kind);
/* The guest or QEMU has ended: say how. Returns -ESRCH. */
int inner_died(struct inner *inner);
/* What QEMU and the guest's kernel said, and where they stand, to the drill
 * host's log. */
void inner_print(struct inner *inner);

#endif
