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

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct tf_engine;

/* Children followed at a time; one more, and slots are kept for good. */
#define TF_FORKS_MAX 128u

struct tf_forks {
	bool events; /* we hear of forks */
	int uffd;    /* tells of forks, and of nothing else */
	char *page;  /* what is registered with it */
	int quit;    /* eventfd */
	pthread_t thread;
	bool running;
	/* Held for instants, by nobody who waits for anything. Taken last. */
	pthread_mutex_t lock;
	int child[TF_FORKS_MAX]; /* their userfaultfds */
	unsigned n;
	bool lost; /* one could not be followed: never punch again */
};

/*
 * Start to listen, in a thread. A process that may not have fork events is no
 * error; see `events`. -EMFILE, -ENOMEM ...
 */
int tf_forks_init(struct tf_engine *e);
void tf_forks_fini(struct tf_engine *e);

/* May anybody but this process have slots mapped? */
bool tf_forks_alive(struct tf_engine *e);

/* Forget children that have ended. */
void tf_forks_reap(struct tf_engine *e);

/*
 * Bracket a fence: between the two fork() waits. False: a fork is under way,
 * do not shut the fence now. A bare clone system call does not wait.
 */
bool tf_fork_gate_enter(void);
void tf_fork_gate_leave(void);

#endif
