/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a test may not leave behind: descriptors, mappings, threads. Take it
 * after a warm-up run (the C library keeps stacks and heap for the next
 * time), run the test, and compare.
 */
#ifndef TF_TESTS_LIB_LEAK_H
#define TF_TESTS_LIB_LEAK_H

struct leak {
	unsigned fds, threads;
	unsigned stores; /* mappings of a stable store */
	unsigned maps;   /* all mappings */
};

void leak_take(struct leak *ret);

/* Ends the test, with a list of what is there, if anything has grown. */
void leak_check(const struct leak *before);

#endif
