/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Intel, one CPU, the library in a process whose guests are threads: a thread
 * spins on a shared page and consumes an error there (SRAR), in user mode, in
 * the midst of its loop.
 */
#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#include "agent/drillhost/world.h"

#define SPINS 65536
#define MORE_ROUNDS 4
#define TRIES 1000

struct spinner {
	const uint64_t *word;
	uint64_t value; /* what it has to be, always */
	atomic_ullong rounds, wrong;
	atomic_bool stop;
};

/* Reads one word `times` times; how often it was another than `value`. Its loop
 * is from drill_spin_begin to drill_spin_end. */
extern uint64_t drill_spin(const uint64_t *word, uint64_t value,
			   uint64_t times);
extern const char drill_spin_begin[], drill_spin_end[];

__asm__(".text\n"
	".globl drill_spin, drill_spin_begin, drill_spin_end\n"
	".type drill_spin, @function\n"
	"drill_spin:\n"
	"	xor %eax, %eax\n"
	"drill_spin_begin:\n"
	"1:	cmp (%rdi), %rsi\n"
	"	je 2f\n"
	"	inc %rax\n"
	"2:	dec %rdx\n"
	"	jnz 1b\n"
	"drill_spin_end:\n"
	"	ret\n"
	".size drill_spin, . - drill_spin\n");

static void *spin_thread(void *arg)
{
	struct spinner *s = arg;

	while (!atomic_load(&s->stop)) {
		atomic_fetch_add(&s->wrong,
				 drill_spin(s->word, s->value, SPINS));
		atomic_fetch_add(&s->rounds, 1);
	}
	return NULL;
}

/* It goes on, behind the error as before. */
static int wait_rounds(struct cell *cell, struct spinner *s)
{
	static const struct timespec pause = { .tv_nsec = 20000000 };
	uint64_t end = atomic_load(&s->rounds) + MORE_ROUNDS;

	for (int i = 0; i < TRIES; i++) {
		if (atomic_load(&s->rounds) >= end)
			return 0;
		nanosleep(&pause, NULL);
	}
	row_blame(cell->row, "the thread that consumed the error hangs");
	return -ETIMEDOUT;
}

static int consume(struct world *w, const struct world_victim *v,
		   struct spinner *s)
{
	int r = wait_rounds(w->cell, s);

	if (!r)
		r = world_book(w, v);
	if (!r)
		r = victim_lose_at(w->cell, v->pa, LOSE_SRAR, drill_spin_begin,
				   drill_spin_end);
	if (r) {
		row_blame(w->cell->row, "no machine check can be raised: %d",
			  r);
		return r;
	}
	r = victim_wait(++w->corrupted);
	return r ? r : wait_rounds(w->cell, s);
}

static int spin_and_consume(struct world *w)
{
	struct world_victim v = { 0 };
	struct spinner s = { 0 };
	pthread_t thread;
	int r = world_pick(w, TF_WORK_COMMON, &v);

	if (r)
		return r;
	s.word = (const uint64_t *)(const void *)v.hva;
	s.value = *s.word;
	if (pthread_create(&thread, NULL, spin_thread, &s))
		return -EAGAIN;
	r = consume(w, &v, &s);
	atomic_store(&s.stop, true);
	if (r)
		return r;
	pthread_join(thread, NULL);
	if (s.wrong)
		row_blame(w->cell->row, "the spinning thread read wrong bytes");
	return 0;
}

static void consumed(struct cell *cell)
{
	static struct world world;
	struct world_opts opts = { .backend = TF_BACKEND_THREAD };

	if (!world_create(cell, &opts, &world) && !spin_and_consume(&world))
		world_finish(&world);
}

const struct drill_case drill_lib_srar_shared = {
	.name = "lib-srar-shared",
	.fault = "SRAR in a thread that spins on a shared page",
	.host = { .vendor = HOST_INTEL, .cpus = 1, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 60,
	.twinfold = consumed,
	.baseline = consumed,
};
