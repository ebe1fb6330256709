/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Forked children. A child inherits mappings of stable slots and sees the
 * bytes of the moment of its fork for as long as it lives. For that
 *
 *  - no fork happens while a fence is shut: the child would inherit a hole;
 *  - the engine hears of every child, and of theirs, and punches no slot
 *    until the last one has ended.
 */
#ifndef TF_ENGINE_FORKS_H
#define TF_ENGINE_FORKS_H

#include <stdbool.h>

struct tf_engine;

/*
 * Bracket a fence: between the two fork() waits. False: a fork is under way,
 * do not shut the fence now. A bare clone system call does not wait.
 */
bool tf_fork_gate_enter(void);
void tf_fork_gate_leave(void);

/* Follow a child, by its userfaultfd. Caller holds the lock, as below. */
void tf_forks_add(struct tf_engine *e, int child);

/* May anybody but this process have slots mapped? */
bool tf_forks_alive(const struct tf_engine *e);

/* Forget children that have ended. */
void tf_forks_reap(struct tf_engine *e);

/* Copy the descriptors of at most `n` children; how many there are. */
unsigned tf_forks_fds(const struct tf_engine *e, int *fds, unsigned n);

/* Answer what a child asks. It may be gone already. */
void tf_forks_serve(struct tf_engine *e, int child);

void tf_forks_fini(struct tf_engine *e);

/* Children followed at a time; one more, and slots are kept for good. */
#define TF_FORKS_MAX 128u

#endif
