/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors that nobody has consumed, told to the healer's own thread: it asks the
 * kernel for that unless the process has a policy, and it waits for nobody.
 *
 * ctest-link: -Wl,--wrap=sigaction
 */
#include "twinfold/ras.h"

#include <sys/prctl.h>
#include <unistd.h>

#include "lib/process.h"
#include "lib/unit_ras.h"
#include "ras/internal.h"

/* Of linux/sched.h: the thread has a policy; it is "early". */
#define PF_MCE_PROCESS 0x80u
#define PF_MCE_EARLY 0x08000000u

#define SETTLE_TRIES 500

static void set_policy(unsigned long policy)
{
	unsigned long how = policy == PR_MCE_KILL_DEFAULT ? PR_MCE_KILL_CLEAR :
							    PR_MCE_KILL_SET;
	unsigned long value = how == PR_MCE_KILL_SET ? policy : 0;

	assert_int_equal(prctl(PR_MCE_KILL, how, value, 0, 0), 0);
}

/* It asks when it begins to run. */
static pid_t healer_of_process(void)
{
	pid_t tid = 0;
	unsigned n = 0;

	for (int i = 0; i < SETTLE_TRIES && !n; i++) {
		n = process_threads_with(PF_MCE_PROCESS | PF_MCE_EARLY, &tid);
		usleep(2000);
	}
	assert_int_equal(n, 1);
	return tid;
}

/* Such a signal can be sent only by the thread that gets it: the healer sends
 * it to itself when it looks for work. */
static _Atomic(const void *) told_addr;
static _Atomic pid_t told_tid;

static int poll_and_tell(const struct tf_os *os, struct pollfd *fds, unsigned n,
			 int timeout_ms)
{
	const void *addr = NULL;

	if (gettid() == atomic_load(&told_tid))
		addr = atomic_exchange(&told_addr, NULL);
	if (addr)
		ras_send_error(addr, RAS_OPTIONAL);
	return tf_os_linux.poll(os, fds, n, timeout_ms);
}

static void tell(struct unit_ras *w, pid_t tid, const void *addr)
{
	struct tf_ras *ras = atomic_load(&w->u.e->ras);

	atomic_store(&told_tid, tid);
	atomic_store(&told_addr, addr);
	assert_true(w->u.os.signal(&w->u.os, ras->wake) >= 0);
	for (int i = 0; i < SETTLE_TRIES && atomic_load(&told_addr); i++)
		usleep(2000);
	assert_null(atomic_load(&told_addr));
}

static void early_open(struct unit_ras *w)
{
	ras_init(w, 16);
	w->u.os.poll = poll_and_tell;
	ras_open(w, 32);
	ras_merge_all(w);
}

static void wait_heals(struct unit_ras *w, uint64_t n)
{
	for (int i = 0; i < SETTLE_TRIES && unit_stats(&w->u).heals < n; i++)
		usleep(2000);
	ras_settle(w);
	assert_int_equal(unit_stats(&w->u).heals, n);
}

static void the_healer_heals_before_a_touch(void **state)
{
	struct unit_ras w;
	uint64_t begin;
	pid_t healer;

	(void)state;
	early_open(&w);
	healer = healer_of_process();
	ras_lose(&w, 5);
	begin = w.u.os.now_ns(&w.u.os);
	tell(&w, healer, ras_page(&w, 5));
	wait_heals(&w, 1);
	/* It has not waited for itself. */
	assert_true(w.u.os.now_ns(&w.u.os) - begin < 90000000);
	ras_assert_all(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).vmces, 0);
	assert_int_equal(unit_stats(&w.u).transient_failed, 0);
	ras_close(&w);
}

static void guests_are_told_before_a_touch(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct unit_ras w;
	pid_t healer;

	(void)state;
	ras_init(&w, 256);
	w.u.os.poll = poll_and_tell;
	ras_open(&w, 8);
	unit_fill_run(w.ram, 8, 1);
	unit_passes(&w.u, 3);
	healer = healer_of_process();
	ras_lose(&w, 3);
	tell(&w, healer, ras_page(&w, 3));
	for (int i = 0; i < SETTLE_TRIES && !unit_stats(&w.u).vmces; i++)
		usleep(2000);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), 0);
	assert_int_equal(vmce.gpa, 3 * TF_PAGE);
	assert_int_equal(vmce.action_required, 0);
	ras_close(&w);
}

/* One healer is told for all. */
static void every_engine_hears_of_it(void **state)
{
	struct unit_ras a, b;
	pid_t healer;

	(void)state;
	early_open(&a);
	healer = healer_of_process();
	early_open(&b);
	ras_lose(&b, 7);
	tell(&a, healer, ras_page(&b, 7));
	wait_heals(&b, 1);
	ras_assert_all(&b);
	assert_int_equal(unit_stats(&a.u).heals, 0);
	ras_close_second(&b);
	ras_close(&a);
}

/* Nobody else has asked to be told: not even a process without a handler dies
 * of it. */
static void what_is_nobodys_is_left_alone(void **state)
{
	static char page[TF_PAGE];
	struct sigaction old;
	struct unit_ras w;
	pid_t healer;

	(void)state;
	early_open(&w);
	healer = healer_of_process();
	tell(&w, healer, page);
	ras_lose(&w, 5);
	tell(&w, healer, ras_page(&w, 5));
	wait_heals(&w, 1);
	ras_close(&w);
	ras_use_handler(&old);
	ras_called = 0;
	early_open(&w);
	tell(&w, healer_of_process(), page);
	ras_settle(&w);
	ras_close(&w);
	assert_int_equal(ras_called, 0);
	sigaction(SIGBUS, &old, NULL);
}

static void a_policy_of_the_process_stays(void **state)
{
	struct unit_ras w;
	pid_t tid;

	(void)state;
	set_policy(PR_MCE_KILL_LATE);
	early_open(&w);
	ras_lose(&w, 5);
	ras_assert_all(&w); /* the healer has run */
	assert_int_equal(
		process_threads_with(PF_MCE_PROCESS | PF_MCE_EARLY, &tid), 0);
	ras_close(&w);
	set_policy(PR_MCE_KILL_DEFAULT);
}

static atomic_bool asked, asked_too_soon;

int __real_sigaction(int sig, const struct sigaction *new,
		     struct sigaction *old);
int __wrap_sigaction(int sig, const struct sigaction *new,
		     struct sigaction *old);

/* Whoever is started before this has time to come first. */
int __wrap_sigaction(int sig, const struct sigaction *new,
		     struct sigaction *old)
{
	if (sig == SIGBUS && new) {
		usleep(20000);
		if (atomic_load(&asked))
			atomic_store(&asked_too_soon, true);
	}
	return __real_sigaction(sig, new, old);
}

static int note_asked(const struct tf_os *os)
{
	atomic_store(&asked, true);
	return tf_os_linux.tell_early(os);
}

/* What the healer is told before the handler is there ends the process. */
static void it_asks_when_the_handler_is_there(void **state)
{
	struct unit_ras w;

	(void)state;
	atomic_store(&asked, false);
	atomic_store(&asked_too_soon, false);
	ras_init(&w, 16);
	w.u.os.tell_early = note_asked;
	ras_open(&w, 4);
	healer_of_process();
	assert_true(atomic_load(&asked));
	assert_false(atomic_load(&asked_too_soon));
	ras_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_healer_heals_before_a_touch),
		cmocka_unit_test(guests_are_told_before_a_touch),
		cmocka_unit_test(every_engine_hears_of_it),
		cmocka_unit_test(what_is_nobodys_is_left_alone),
		cmocka_unit_test(a_policy_of_the_process_stays),
		cmocka_unit_test(it_asks_when_the_handler_is_there),
	};

	return unit_run(tests);
}
