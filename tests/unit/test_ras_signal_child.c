/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SIGBUS handler where it may end the process, or never return: such a case
 * runs in a child, which is this program with the case's name.
 */
#include "twinfold/ras.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/unit_ras.h"
#include "ras/internal.h"

#define SEED 7
#define CROWD (RAS_REQUESTS + 16)

static void child_touches_beyond_the_end(void **state)
{
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	ras_chain(&w, 16, 32);
	ras_touch(ras_page_beyond());
}

static void child_is_sent_a_signal(void **state)
{
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	ras_chain(&w, 16, 32);
	raise(SIGBUS);
}

static void child_ignores_signals(void **state)
{
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_IGN);
	ras_chain(&w, 16, 32);
	raise(SIGBUS);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_close(&w);
}

static void child_loses_the_engine(enum tf_policy policy, int code)
{
	struct unit_ras w;

	signal(SIGBUS, SIG_DFL);
	ras_init(&w, 16);
	w.u.opts.unrecoverable_policy = policy;
	ras_open(&w, 32);
	ras_merge_all(&w);
	ras_send_error(w.u.e, code);
	assert_int_equal(unit_stats(&w.u).can_merge, 0);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_close(&w);
}

static void child_aborts(void **state)
{
	(void)state;
	child_loses_the_engine(TF_POLICY_ABORT, RAS_REQUIRED);
}

static void child_degrades(void **state)
{
	(void)state;
	child_loses_the_engine(TF_POLICY_DEGRADE, RAS_OPTIONAL);
}

/* It is told of an error while it holds the engine's lock: too late for a
 * verdict, but no reason to stop healing. */
static void child_holds_the_lock(void **state)
{
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	pthread_mutex_lock(&w.u.e->lock);
	ras_send_error(w.ram, RAS_OPTIONAL);
	pthread_mutex_unlock(&w.u.e->lock);
	ras_settle(&w);
	ras_lose(&w, 3);
	ras_assert_all(&w);
	ras_close(&w);
}

static void child_installs_again(void **state)
{
	struct sigaction sa = { .sa_sigaction = ras_handler_above,
				.sa_flags = SA_SIGINFO };
	struct unit_ras w;
	char *page;

	(void)state;
	ras_use_handler(NULL);
	ras_chain(&w, 16, 32);
	assert_int_equal(sigaction(SIGBUS, &sa, &ras_below), 0);
	tf_ras_uninstall(w.u.e);
	assert_int_equal(tf_ras_install(w.u.e, NULL), 0);
	page = ras_page_beyond();
	ras_touch(page);
	munmap(page, TF_PAGE);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_close(&w);
}

static void *touch_first(void *arg)
{
	const struct unit_ras *w = arg;
	_Alignas(8) char right[TF_PAGE];

	unit_fill(right, SEED);
	return memcmp(w->ram, right, TF_PAGE) ? arg : NULL;
}

static void *uninstall(void *arg)
{
	struct unit_ras *w = arg;

	tf_ras_uninstall(w->u.e);
	return NULL;
}

static unsigned requests(const struct unit_ras *w)
{
	struct tf_ras *ras = atomic_load(&w->u.e->ras);
	unsigned n = 0;

	for (unsigned i = 0; i < RAS_REQUESTS; i++)
		n += atomic_load(&ras->request[i].state) == REQUEST_POSTED;
	return n;
}

/* Somebody waits for a verdict while the engine is uninstalled. */
static void child_uninstalls(void **state)
{
	void *wrong = &wrong;
	pthread_t a, b;
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	pthread_mutex_lock(&w.u.e->lock);
	assert_int_equal(pthread_create(&a, NULL, touch_first, &w), 0);
	while (!requests(&w))
		usleep(100);
	assert_int_equal(pthread_create(&b, NULL, uninstall, &w), 0);
	usleep(20000);
	pthread_mutex_unlock(&w.u.e->lock);
	pthread_join(a, &wrong);
	pthread_join(b, NULL);
	assert_null(wrong);
	ras_assert_all(&w);
	ras_close(&w);
}

/* More threads at once than there are requests. */
static void child_is_a_crowd(void **state)
{
	pthread_t thread[CROWD];
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	pthread_mutex_lock(&w.u.e->lock);
	for (unsigned i = 0; i < CROWD; i++)
		assert_int_equal(
			pthread_create(&thread[i], NULL, touch_first, &w), 0);
	usleep(100000);
	pthread_mutex_unlock(&w.u.e->lock);
	for (unsigned i = 0; i < CROWD; i++) {
		void *wrong = &wrong;

		pthread_join(thread[i], &wrong);
		assert_null(wrong);
	}
	assert_int_equal(unit_stats(&w.u).heals, 1);
	ras_close(&w);
}

/* Sent for an error in memory of somebody else's: it ends the process, as
 * without us. */
static void child_is_told_of_foreign_memory(void **state)
{
	static _Alignas(8) char page[TF_PAGE];
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	ras_chain(&w, 16, 32);
	ras_send_error(page, RAS_OPTIONAL);
}

/* The page of the engine that is asked second is lost for good: its toucher
 * gets an empty one, and does not come back for ever. */
static void child_has_two_engines(void **state)
{
	struct unit_ras a, b;
	uint8_t told[RAS_PAGES];

	(void)state;
	ras_chain(&a, 16, 32);
	ras_unique(&b, 8);
	ras_lose(&b, 3);
	unit_assert_page(ras_page(&b, 3), 0);
	assert_int_equal(ras_take(&b, b.g, told), 1);
	ras_close_second(&b);
	ras_close(&a);
}

static const struct CMUnitTest children[] = {
	cmocka_unit_test(child_has_two_engines),
	cmocka_unit_test(child_touches_beyond_the_end),
	cmocka_unit_test(child_is_sent_a_signal),
	cmocka_unit_test(child_ignores_signals),
	cmocka_unit_test(child_aborts),
	cmocka_unit_test(child_degrades),
	cmocka_unit_test(child_holds_the_lock),
	cmocka_unit_test(child_installs_again),
	cmocka_unit_test(child_uninstalls),
	cmocka_unit_test(child_is_a_crowd),
	cmocka_unit_test(child_is_told_of_foreign_memory),
};

/* How the child ended: 0, or the signal, or -1 for a failed assertion. */
static int run_child(const char *name)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		alarm(10);
		execl("/proc/self/exe", "test_ras_signal_child", "--child",
		      name, (char *)NULL);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) ? -1 : 0;
}

static void default_actions_are_taken(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_touches_beyond_the_end"), SIGBUS);
	assert_int_equal(run_child("child_is_sent_a_signal"), SIGBUS);
}

static void the_policy_may_be_to_abort(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_aborts"), SIGBUS);
}

static void ignored_signals_are_ignored(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_ignores_signals"), 0);
}

static void a_degraded_engine_goes_on_healing(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_degrades"), 0);
}

static void no_verdict_in_time_is_no_end(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_holds_the_lock"), 0);
}

static void installing_under_a_handler_above(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_installs_again"), 0);
}

static void uninstalling_waits_for_waiters(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_uninstalls"), 0);
}

static void a_crowd_is_healed(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_is_a_crowd"), 0);
}

static void foreign_memory_has_the_default_action(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_is_told_of_foreign_memory"), SIGBUS);
}

static void a_private_page_of_the_second_engine(void **state)
{
	(void)state;
	assert_int_equal(run_child("child_has_two_engines"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(default_actions_are_taken),
		cmocka_unit_test(the_policy_may_be_to_abort),
		cmocka_unit_test(ignored_signals_are_ignored),
		cmocka_unit_test(a_degraded_engine_goes_on_healing),
		cmocka_unit_test(no_verdict_in_time_is_no_end),
		cmocka_unit_test(installing_under_a_handler_above),
		cmocka_unit_test(uninstalling_waits_for_waiters),
		cmocka_unit_test(a_crowd_is_healed),
		cmocka_unit_test(foreign_memory_has_the_default_action),
		cmocka_unit_test(a_private_page_of_the_second_engine),
	};

	if (argc > 2 && strcmp(argv[1], "--child") == 0) {
		cmocka_set_test_filter(argv[2]);
		return unit_run(children);
	}
	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
