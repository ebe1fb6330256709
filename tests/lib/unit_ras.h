/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The world of a unit test with healing: the healer is installed, its events
 * are recorded, and lost pages are counted. Cases of the SIGBUS handler send
 * themselves errors, and have handlers of their own.
 */
#ifndef TF_TESTS_UNIT_RAS_H
#define TF_TESTS_UNIT_RAS_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "lib/unit_world.h"
#include "twinfold/ras.h"

#define RAS_EVENTS 4096u
#define RAS_PAGES 4096u

/* Codes of SIGBUS: consumed by a thread, or seen by nobody yet. */
#define RAS_REQUIRED 4
#define RAS_OPTIONAL 5

struct unit_ras {
	struct unit u;
	struct tf_guest *g;
	char *ram;
	unsigned pages;
	int eventfd;
	pthread_mutex_t lock; /* protects the events */
	struct tf_ras_verdict event[RAS_EVENTS];
	unsigned nevents;
};

/*
 * unit_init() with smart_scan off and dups of `max` sharers; change `u.os` or
 * `u.opts`, then ras_open(): one guest with `pages` of RAM at gpa 0.
 */
void ras_init(struct unit_ras *w, unsigned max);
void ras_open(struct unit_ras *w, unsigned pages);
void ras_close(struct unit_ras *w);

/* ras_init(), ras_open(), content 7 on all pages, and passes until they are
 * merged into dups of `max` sharers. */
void ras_chain(struct unit_ras *w, unsigned max, unsigned pages);
void ras_merge_all(struct unit_ras *w);

/* All different and settled. Page i is content i + 1. */
void ras_unique(struct unit_ras *w, unsigned pages);

char *ras_page(const struct unit_ras *w, unsigned page);
/* The dup that a page shares, and its slot. */
uint32_t ras_dup(struct unit_ras *w, unsigned page);
uint32_t ras_slot(struct unit_ras *w, unsigned page);
/* The first page that shares another dup than any of the given ones; 0 ends
 * the list. */
unsigned ras_page_beside(struct unit_ras *w, uint32_t a, uint32_t b);

void ras_lose(struct unit_ras *w, unsigned page);
int ras_handle(struct unit_ras *w, const void *addr, int code,
	       struct tf_ras_verdict *v);

/* Until the healer has nothing left to do, its callbacks included. */
void ras_settle(struct unit_ras *w);

/* How many events there were of a class so far. */
unsigned ras_events(struct unit_ras *w, enum tf_ras_class cls);

/* Take what is pending: told[page] counts, the number of all is returned.
 * Each must be of guest `g`. */
unsigned ras_take(struct unit_ras *w, const struct tf_guest *g,
		  uint8_t told[RAS_PAGES]);

/* Every page is content 7. */
void ras_assert_all(const struct unit_ras *w);

/* Just pages `from` to `from + n - 1` are told, each once. */
void ras_assert_told(struct unit_ras *w, unsigned from, unsigned n);
void ras_assert_no_vmce(struct unit_ras *w);

/* The store of page 0. */
const struct tf_store *ras_store(struct unit_ras *w);

unsigned ras_sharers(struct unit_ras *w, uint32_t dup);
/* Write to sharers of `dup` until `keep` are left; downwards, so that none
 * is broken ahead. Page i becomes content 100 + i. */
void ras_thin_out(struct unit_ras *w, uint32_t dup, unsigned keep);

/* SIGBUS as the kernel sends it to this thread. */
void ras_send_error(const void *addr, int code);
/* A page of a file that ends before it: touching it raises SIGBUS. */
char *ras_page_beyond(void);
void ras_touch(const void *page);

/* A handler of the embedder, which mends what it is called for. */
extern atomic_uint ras_called;
extern void *volatile ras_called_for;
void ras_handler_below(int sig, siginfo_t *info, void *context);
void ras_use_handler(struct sigaction *old);
/* One that counts, then calls `ras_below`, which it was installed over. */
extern struct sigaction ras_below;
void ras_handler_above(int sig, siginfo_t *info, void *context);

/* ras_close() of a world that was opened in another one, which counts what
 * this one leaves. */
void ras_close_second(struct unit_ras *w);

#endif
