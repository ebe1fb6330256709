/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the workload's guest side and host side agree on: where things lie in
 * guest RAM, the ports, and the two structs in shared pages. Both sides
 * include it, one compiled for 32 bits and one for 64: only fixed-size fields,
 * 64-bit ones at multiples of 8.
 */
#ifndef TF_VMM_PAYLOAD_GUEST_H
#define TF_VMM_PAYLOAD_GUEST_H

/* Guest physical addresses of the control area, at the start of RAM. */
#define TF_GW_CONFIG 0x1000  /* struct tf_gw_config, written by the host */
#define TF_GW_MAILBOX 0x2000 /* struct tf_gw_mailbox, written by the guest */
#define TF_GW_MCES 0x3000    /* struct tf_gw_mces, by its #MC handler */
#define TF_GW_IMAGE 0x4000   /* the payload; its stack grows down ... */
#define TF_GW_STACK 0x10000  /* ... from here */
#define TF_GW_TAPES 0x10000  /* two tapes, then the page table */

/*
 * A tape is pseudo-random words. The body of a page is TF_GW_BODY words of a
 * tape, from one of TF_GW_OFFSETS places: one rep instruction copies it and
 * one compares it, which matters where a vCPU's instructions are emulated.
 */
#define TF_GW_WORDS 1024 /* of a page */
#define TF_GW_HEAD 3     /* owner, id, generation */
#define TF_GW_LAST (TF_GW_WORDS - 1)
#define TF_GW_BODY (TF_GW_LAST - TF_GW_HEAD)
#define TF_GW_OFFSETS 4096
#define TF_GW_TAPE_BYTES ((TF_GW_OFFSETS + TF_GW_WORDS) * 4)

/* In: the host reads the mailbox and answers with the phase it wants. */
#define TF_GW_PORT_SYNC 0x510
/* Out: a failed check, the gpa of its first wrong byte. */
#define TF_GW_PORT_BAD 0x511
/* Out: a machine check was taken, the page's gpa; bit 0: action required. */
#define TF_GW_PORT_MCE 0x512
/* Out: the gpa of a page that the guest gives up; it reads as zeros then. */
#define TF_GW_PORT_GIVE_UP 0x513
/* In: machine checks that are on their way come before the answer, 0. */
#define TF_GW_PORT_PENDING 0x514
/* Out: this gpa is lost and the guest cannot do without. */
#define TF_GW_PORT_DEAD 0x515

/* The guest syncs at least once in so many pages. */
#define TF_GW_BATCH 32

/* Machine checks that wait for the guest's program. */
#define TF_GW_MCE_RING 128

#ifndef __ASSEMBLER__
#include <stdint.h>

/* As enum tf_work_phase. */
enum tf_gw_phase {
	TF_GW_BOOT,
	TF_GW_FILL,
	TF_GW_RUN,
	TF_GW_OVERWRITE,
	TF_GW_DONE,
	TF_GW_PHASES,
};

/* Pages that are checked, contiguous for the guest. */
struct tf_gw_seg {
	uint32_t gpa;
	uint32_t pages;
	uint64_t va; /* where the guest's code finds it */
};

struct tf_gw_config {
	uint32_t guest;  /* from 1: owner 0 means common */
	uint32_t groups; /* how many common contents there are */
	struct tf_gw_seg seg[2];
	uint64_t tape[2]; /* common, own */
	uint64_t table;   /* struct tf_gw_page of every page */
	uint64_t mailbox;
	uint64_t host; /* for tf_gw_in() and tf_gw_out() */
	uint64_t mces;
	uint32_t deaf; /* machine checks stay off */
	uint32_t unused;
};

struct tf_gw_mailbox {
	uint32_t phase;
	uint32_t ready;
	uint64_t filled;
	uint64_t checks;
	uint64_t writes;
	uint64_t failures;
	uint64_t rounds[TF_GW_PHASES];
	uint64_t wrong_bytes; /* of all failed checks */
	uint64_t lost_writes; /* failed checks that found an older content */
	uint64_t lost_pages; /* given up after a machine check, and rewritten */
};

/* What the #MC handler read. */
struct tf_gw_mce {
	uint64_t status;
	uint32_t gpa; /* of the page */
	uint32_t mcg; /* MCG_STATUS: bit 0 RIPV, bit 1 EIPV (required) */
};

/*
 * Machine checks that came: the handler appends, the program follows. The
 * first word is where entry.S keeps the stack of the operation that a machine
 * check may end, 0: none.
 */
struct tf_gw_mces {
	uint32_t stack;
	uint32_t busy;     /* gpa of the page that the program works on */
	uint32_t count;    /* machine checks taken */
	uint32_t required; /* of these, with action required */
	uint32_t handled;  /* pages of these given up, by the program */
	uint32_t unused[3];
	struct tf_gw_mce ring[TF_GW_MCE_RING];
};

_Static_assert(sizeof(struct tf_gw_config) == 96, "same in 32 and 64 bits");
_Static_assert(sizeof(struct tf_gw_mailbox) == 104, "same in 32 and 64 bits");
_Static_assert(sizeof(struct tf_gw_mces) <= 4096, "a page of its own");

enum tf_gw_kind {
	TF_GW_UNIQUE,
	TF_GW_COMMON,
	TF_GW_ZERO,
	TF_GW_TWIN,
	TF_GW_KINDS,
};

/* What the guest wrote to a page last; kept outside the checked pages. */
struct tf_gw_page {
	uint32_t kind;
	uint32_t id;   /* the page's number; common: its group; twin: the
			* number of the first of the twins */
	uint32_t gen;  /* unique: different at every write */
	uint32_t tail; /* the last word: small writes since the last whole one */
};

/* The guest's program: returns when the host wants TF_GW_DONE. */
void tf_gw_main(const struct tf_gw_config *cfg);

/* How it reaches the host: an instruction on a vCPU, a call in a thread. */
uint32_t tf_gw_in(const struct tf_gw_config *cfg, uint16_t port);
void tf_gw_out(const struct tf_gw_config *cfg, uint16_t port, uint32_t value);

/*
 * Call fn(arg); a machine check for the page that mces->busy names ends it and
 * comes back here. In a thread nothing ends it.
 */
void tf_gw_try(const struct tf_gw_config *cfg, void (*fn)(void *), void *arg);

/* Take machine checks from now on. */
void tf_gw_listen(const struct tf_gw_config *cfg);
#endif
#endif
