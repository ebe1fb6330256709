/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of the preload library without QEMU: each case is a process of its
 * own that has the library loaded, behaves like a VMM, and asks the library
 * through its control socket what it made of that.
 */
#ifndef TESTS_LIB_PRELOAD_H
#define TESTS_LIB_PRELOAD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* In a case: say what does not hold, and fail. */
#define CHECK(cond) preload_check(cond, __FILE__, __LINE__, #cond)

static inline void preload_check(bool holds, const char *file, int line,
				 const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	exit(1);
}

/* /dev/userfaultfd, as the process sees it. */
enum preload_node {
	PRELOAD_NODE_KEPT,
	PRELOAD_NODE_OPEN, /* to everybody */
	PRELOAD_NODE_GONE, /* and all else of /dev */
};

struct preload_case {
	const char *name;
	void (*run)(void);
	const char *env[4]; /* NAME=VALUE, beside TWINFOLD_CTL */
	int signal;         /* that is to end it, 0: none */
	unsigned uid;       /* of the process; 0: as the test */
	enum preload_node node;
	const char *said; /* must be in its standard error, or NULL */
};

/* Run all cases, or in a process of its own the one that argv names. Returns
 * the exit status. */
int preload_main(char **argv, const struct preload_case *cases, size_t n);

/* --- in a case ------------------------------------------------------------ */

/* A command; what it returned, or NULL and the error's description. */
json_t *preload_ask(const char *command, json_t *args, char *desc, size_t size);
/* A line as it is; the answer's line. */
void preload_line(const char *line, char *ret, size_t size);
uint64_t preload_stat(const char *name);
/* State and reason of the block that is at `hva`; false: there is none. */
bool preload_block(const void *hva, char *state, char *reason, size_t size);
/* Is there such a reason not to merge? */
bool preload_has_reason(const char *part);
/* Wait until the block is in that state. */
void preload_wait(const void *hva, const char *state);
/* Passes, until every page has had its chance. */
void preload_passes(void);
bool preload_inject(uint64_t gpa);

#define RAM_MIB 16u
#define RAM_BYTES ((size_t)RAM_MIB << 20)
#define RAM_PAGES (RAM_BYTES / 4096)

/* Private anonymous memory, filled: see preload_fill_page(). */
char *preload_map(void);
/* That, named and merged. */
char *preload_merged(void);
/* Even pages are unique; odd ones are of 16 contents. */
void preload_fill_page(char *page, unsigned i);
bool preload_page_holds(const char *page, unsigned i);
/* New memory is named: KSM hears of it, and what is discarded is gone. */
void preload_kernels_own(void);
/* And there is no socket: as if the library were not there. */
void preload_left_alone(void);
/* Pages [from, to) hold what preload_fill_page() put there. */
bool preload_holds(const char *ram, unsigned from, unsigned to);
/* Has the mapping at `addr` this flag of smaps? */
bool preload_vma_has(const void *addr, const char *flag);

#endif
