/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SIGBUS handler: whom it gives what is not its own, threads that meet at
 * one page, and what may not be waited for. Cases that may end the process
 * run in a child, which is this program with the case's name.
 */
#include "twinfold/ras.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/chain.h"
#include "engine/store.h"
#include "lib/unit_ras.h"
#include "ras/internal.h"

#define SEED 7
#define THREADS 8u

/* As the kernel sends it to this thread. */
static void send_error(const void *addr, int code)
{
	siginfo_t info = { .si_signo = SIGBUS, .si_code = code };

	info.si_addr = (void *)addr;
	info.si_addr_lsb = TF_PAGE_SHIFT;
	assert_int_equal(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(),
				 SIGBUS, &info),
			 0);
}

/* A page of a file that ends before it: touching it raises SIGBUS. */
static char *page_beyond_the_end(void)
{
	int fd = memfd_create("short", 0);
	char *at = mmap(NULL, TF_PAGE, PROT_READ, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	close(fd);
	return at;
}

/* Handlers of the embedder. They mend what they are called for. */
static atomic_uint called;
static void *volatile called_for;
static struct sigaction below;

static void mend(void *addr)
{
	mmap(addr, TF_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
}

static void full_handler(int sig, siginfo_t *info, void *context)
{
	if (sig == SIGBUS && context)
		atomic_fetch_add(&called, 1);
	called_for = info->si_addr;
	if (info->si_code > 0)
		mend(info->si_addr);
}

static void *volatile plain_page;

static void plain_handler(int sig)
{
	atomic_fetch_add(&called, sig == SIGBUS);
	mend(plain_page);
}

static void handler_above(int sig, siginfo_t *info, void *context)
{
	atomic_fetch_add(&called, 1);
	below.sa_sigaction(sig, info, context);
}

static void use_full(struct sigaction *old)
{
	struct sigaction sa = { .sa_sigaction = full_handler,
				.sa_flags = SA_SIGINFO };

	atomic_store(&called, 0);
	assert_int_equal(sigaction(SIGBUS, &sa, old), 0);
}

static void use_plain(void (*handler)(int), struct sigaction *old)
{
	struct sigaction sa = { .sa_handler = handler };

	atomic_store(&called, 0);
	assert_int_equal(sigaction(SIGBUS, &sa, old), 0);
}

static void touch(const void *page)
{
	(void)*(volatile const char *)page;
}

static void a_full_handler_gets_what_is_not_ours(void **state)
{
	struct sigaction cmocka, now;
	struct unit_ras w;
	char *page;

	(void)state;
	use_full(&cmocka);
	ras_chain(&w, 16, 32);
	page = page_beyond_the_end();
	touch(page);
	assert_int_equal(atomic_load(&called), 1);
	assert_ptr_equal(called_for, page);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	assert_int_equal(atomic_load(&called), 1);
	assert_int_equal(raise(SIGBUS), 0);
	assert_int_equal(atomic_load(&called), 2);
	munmap(page, TF_PAGE);
	ras_close(&w);
	assert_int_equal(sigaction(SIGBUS, &cmocka, &now), 0);
	assert_ptr_equal(now.sa_sigaction, full_handler);
	assert_true(now.sa_flags & SA_SIGINFO);
}

static void a_plain_handler_gets_what_is_not_ours(void **state)
{
	struct sigaction cmocka, now;
	struct unit_ras w;

	(void)state;
	use_plain(plain_handler, &cmocka);
	ras_chain(&w, 16, 32);
	plain_page = page_beyond_the_end();
	touch(plain_page);
	assert_int_equal(atomic_load(&called), 1);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	assert_int_equal(atomic_load(&called), 1);
	munmap(plain_page, TF_PAGE);
	ras_close(&w);
	assert_int_equal(sigaction(SIGBUS, &cmocka, &now), 0);
	assert_ptr_equal(now.sa_handler, plain_handler);
}

static void errno_is_preserved(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	errno = EXDEV;
	touch(w.ram);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	ras_handle(&w, &w, RAS_REQUIRED, &v);
	assert_int_equal(errno, EXDEV);
	ras_close(&w);
}

static void a_handler_over_ours_stays(void **state)
{
	struct sigaction cmocka, now,
		sa = { .sa_sigaction = handler_above, .sa_flags = SA_SIGINFO };
	struct unit_ras w;
	char *page;

	(void)state;
	use_full(&cmocka);
	ras_chain(&w, 16, 32);
	assert_int_equal(sigaction(SIGBUS, &sa, &below), 0);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_true(atomic_load(&called) >= 1);
	tf_ras_uninstall(w.u.e);
	assert_int_equal(sigaction(SIGBUS, NULL, &now), 0);
	assert_ptr_equal(now.sa_sigaction, handler_above);
	page = page_beyond_the_end();
	atomic_store(&called, 0);
	touch(page); /* above, ours, the one before */
	assert_int_equal(atomic_load(&called), 2);
	munmap(page, TF_PAGE);
	assert_int_equal(sigaction(SIGBUS, &cmocka, NULL), 0);
	ras_close(&w);
}

/* Of a world that was opened in another one: who counts what it leaves? The
 * other one does. */
static void close_second(struct unit_ras *w)
{
	ras_settle(w);
	close(w->eventfd);
	tf_engine_destroy(w->u.e);
	unit_unmap(&w->u, w->ram);
}

static void two_engines(void **state)
{
	struct sigaction before, now;
	struct unit_ras a, b;

	(void)state;
	assert_int_equal(sigaction(SIGBUS, NULL, &before), 0);
	ras_chain(&a, 16, 32);
	ras_chain(&b, 16, 32);
	ras_lose(&a, 0);
	ras_lose(&b, 3);
	ras_assert_all(&b);
	ras_assert_all(&a);
	ras_settle(&a);
	ras_settle(&b);
	assert_int_equal(unit_stats(&a.u).heals, 1);
	assert_int_equal(unit_stats(&b.u).heals, 1);
	assert_int_equal(unit_stats(&a.u).vmces, 0);
	assert_int_equal(unit_stats(&b.u).vmces, 0);
	tf_ras_uninstall(a.u.e);
	ras_lose(&b, 7);
	ras_assert_all(&b);
	assert_int_equal(unit_stats(&b.u).heals, 2);
	tf_ras_uninstall(b.u.e);
	assert_int_equal(sigaction(SIGBUS, NULL, &now), 0);
	assert_ptr_equal(now.sa_sigaction, before.sa_sigaction);
	close_second(&b);
	ras_close(&a);
}

struct reader {
	const struct unit_ras *w;
	atomic_bool stop;
	atomic_uint rounds, wrong;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	char right[TF_PAGE];

	unit_fill(right, SEED);
	while (!atomic_load(&r->stop)) {
		for (unsigned i = 0; i < r->w->pages; i++)
			if (memcmp(ras_page(r->w, i), right, TF_PAGE))
				atomic_fetch_add(&r->wrong, 1);
		atomic_fetch_add(&r->rounds, 1);
	}
	return NULL;
}

/* One engine comes and goes while threads are in another one's handler. */
static void installing_while_others_take_faults(void **state)
{
	struct unit_ras a, b;
	struct reader r = { .w = &b };
	pthread_t thread;

	(void)state;
	ras_chain(&a, 16, 32);
	ras_chain(&b, 16, 32);
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	for (unsigned i = 0; i < 300; i++) {
		tf_ras_uninstall(a.u.e);
		ras_lose(&b, i % 32);
		assert_int_equal(tf_ras_install(a.u.e, NULL), 0);
		/* One at a time: two might be the only two copies. */
		while (unit_stats(&b.u).heals <= i)
			sched_yield();
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&r.wrong), 0);
	ras_assert_all(&b);
	ras_settle(&b);
	assert_true(unit_stats(&b.u).heals > 0);
	assert_int_equal(unit_stats(&b.u).vmces, 0);
	close_second(&b);
	ras_close(&a);
}

/* An error that nobody has consumed, in a page that has a twin. */
static void optional_errors_heal(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 5);
	send_error(ras_page(&w, 5), RAS_OPTIONAL);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	ras_assert_all(&w);
	ras_settle(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).vmces, 0);
	ras_close(&w);
}

/* The stronger word wins, and there is one. */
static void an_optional_vmce_becomes_required(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct tf_ras_verdict v;
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 3);
	send_error(ras_page(&w, 3) + 100, RAS_OPTIONAL);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	assert_int_equal(ras_handle(&w, ras_page(&w, 3), RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_PRIVATE);
	assert_int_equal(ras_handle(&w, ras_page(&w, 3), RAS_OPTIONAL, &v), 0);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), 0);
	assert_int_equal(vmce.action_required, 1);
	assert_int_equal(vmce.tid, gettid());
	assert_int_equal(vmce.gpa, 3 * TF_PAGE);
	assert_int_equal(tf_ras_take_vmce(w.u.e, 0, &vmce), -EAGAIN);
	assert_int_equal(unit_stats(&w.u).vmces, 1);
	ras_close(&w);
}

static void an_optional_vmce_is_nobodys(void **state)
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 8);
	ras_lose(&w, 3);
	send_error(ras_page(&w, 3), RAS_OPTIONAL);
	assert_int_equal(tf_ras_take_vmce(w.u.e, gettid() + 1, &vmce), 0);
	assert_int_equal(vmce.action_required, 0);
	assert_int_equal(vmce.tid, 0);
	ras_close(&w);
}

/* Threads that start together. Thread i reads `page`, then writes word
 * `i * 8` of it if it is to. */
struct meeting {
	pthread_barrier_t start;
	char *page;
	bool write, wrong[THREADS];
	char right[TF_PAGE];
};

struct guest_thread {
	struct meeting *m;
	unsigned no;
	pthread_t thread;
};

static void *meet(void *arg)
{
	struct guest_thread *t = arg;
	struct meeting *m = t->m;

	pthread_barrier_wait(&m->start);
	if (m->write)
		((volatile uint64_t *)m->page)[t->no * 8] = t->no + 1;
	else
		m->wrong[t->no] = memcmp(m->page, m->right, TF_PAGE);
	return NULL;
}

static void meet_all(struct meeting *m)
{
	struct guest_thread t[THREADS];

	memset(m->wrong, 0, sizeof(m->wrong));
	pthread_barrier_init(&m->start, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i] = (struct guest_thread){ .m = m, .no = i };
		assert_int_equal(
			pthread_create(&t[i].thread, NULL, meet, &t[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i].thread, NULL);
	pthread_barrier_destroy(&m->start);
	for (unsigned i = 0; i < THREADS; i++)
		assert_false(m->wrong[i]);
}

static void threads_meet_at_a_shared_page(void **state)
{
	struct meeting m = { .write = false };
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	unit_fill(m.right, SEED);
	for (unsigned round = 1; round <= 30; round++) {
		m.page = ras_page(&w, round % 32);
		ras_lose(&w, round % 32);
		meet_all(&m);
		ras_settle(&w);
		assert_int_equal(unit_stats(&w.u).heals, round);
	}
	ras_assert_all(&w);
	assert_int_equal(unit_stats(&w.u).vmces, 0);
	ras_close(&w);
}

/* Each writes a word: whoever maps over what another has written loses it. */
static void writers_meet_at_a_shared_page(void **state)
{
	struct meeting m = { .write = true };
	char right[TF_PAGE];
	unsigned rounds = 0;
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	unit_fill(right, SEED);
	for (unsigned i = 0; i < THREADS; i++)
		((uint64_t *)right)[i * 8] = i + 1;
	for (unsigned i = 0; i < 60; i++) {
		unsigned page = 31 - i % 12; /* none is broken ahead */

		if (!(i % 12)) {
			for (unsigned j = 0; j < 32; j++)
				unit_fill(ras_page(&w, j), SEED);
			unit_passes(&w.u, 4);
		}
		m.page = ras_page(&w, page);
		/* Where the kernel was faster it has a copy of its own. */
		if (unit_state(&w.u, m.page) != TF_FRAME_SHARED)
			continue;
		rounds++;
		ras_lose(&w, page);
		meet_all(&m);
		assert_memory_equal(m.page, right, TF_PAGE);
	}
	assert_true(rounds >= 8);
	for (unsigned page = 0; page < 20; page++)
		unit_assert_page(ras_page(&w, page), SEED);
	assert_int_equal(unit_stats(&w.u).vmces, 0);
	ras_close(&w);
}

static void threads_meet_at_a_private_page(void **state)
{
	struct meeting m = { .write = true };
	uint8_t told[RAS_PAGES];
	char right[TF_PAGE] = { 0 };
	struct unit_ras w;

	(void)state;
	ras_unique(&w, 64);
	for (unsigned i = 0; i < THREADS; i++)
		((uint64_t *)right)[i * 8] = i + 1;
	for (unsigned page = 0; page < 60; page++) {
		m.page = ras_page(&w, page);
		ras_lose(&w, page);
		meet_all(&m);
		assert_memory_equal(m.page, right, TF_PAGE);
		assert_int_equal(ras_take(&w, w.g, told), 1);
		assert_int_equal(told[page], 1);
	}
	assert_int_equal(unit_stats(&w.u).vmces, 60);
	unit_assert_page(ras_page(&w, 60), 61);
	ras_close(&w);
}

static const struct tf_store *store_of(struct unit_ras *w)
{
	return unit_spot(&w->u, w->ram).b->region->store;
}

static void addresses_of_the_store(void **state)
{
	struct tf_ras_verdict v;
	const struct tf_store *s;
	struct unit_ras w;
	const char *slot;

	(void)state;
	ras_chain(&w, 16, 32);
	s = store_of(&w);
	slot = tf_slot_bytes(s, ras_slot(&w, 0));
	assert_int_equal(ras_handle(&w, slot, RAS_REQUIRED, &v), 0);
	assert_int_equal(v.cls, TF_RAS_TRANSIENT);
	assert_int_equal(ras_handle(&w, s->map + (1 << 26), RAS_REQUIRED, &v),
			 0);
	assert_int_equal(v.cls, TF_RAS_TRANSIENT);
	ras_lose(&w, 0);
	assert_int_equal(ras_handle(&w, slot, RAS_OPTIONAL, &v), 0);
	assert_int_equal(v.cls, TF_RAS_SHARED);
	assert_int_equal(v.source, TF_RAS_FROM_FRESH_COPY);
	assert_int_equal(ras_handle(&w, slot, RAS_OPTIONAL, &v), 0);
	assert_int_equal(v.cls, TF_RAS_TRANSIENT);
	ras_assert_all(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	assert_int_equal(unit_stats(&w.u).unrecoverable, 0);
	ras_close(&w);
}

static void assert_lost_for_good(struct unit_ras *w, const void *addr)
{
	uint64_t begin = w->u.os.now_ns(&w->u.os);
	uint64_t before = unit_stats(&w->u).unrecoverable;
	struct tf_ras_verdict v;

	/* At once: the lock is not waited for. */
	pthread_mutex_lock(&w->u.e->lock);
	assert_int_equal(ras_handle(w, addr, RAS_REQUIRED, &v),
			 -ENOTRECOVERABLE);
	pthread_mutex_unlock(&w->u.e->lock);
	assert_true(w->u.os.now_ns(&w->u.os) - begin < 50000000);
	assert_int_equal(unit_stats(&w->u).unrecoverable, before + 1);
	assert_int_equal(unit_stats(&w->u).transient_failed, 0);
}

static void memory_of_the_engine_is_lost_at_once(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	assert_lost_for_good(&w, w.u.e);
	assert_lost_for_good(&w, unit_spot(&w.u, w.ram).f);
	assert_lost_for_good(&w, tf_dup_get(w.u.e, ras_dup(&w, 0)));
	assert_lost_for_good(&w, w.u.e->zero_page + 8);
	assert_int_equal(unit_stats(&w.u).can_merge, 0);
	ras_close(&w);
}

/* The healer gives up on a lock that is held for very long; later it heals. */
static void a_lock_that_is_held(void **state)
{
	struct tf_ras_verdict v;
	struct unit_ras w;
	uint64_t begin;

	(void)state;
	ras_chain(&w, 16, 32);
	ras_lose(&w, 0);
	begin = w.u.os.now_ns(&w.u.os);
	pthread_mutex_lock(&w.u.e->lock);
	assert_int_equal(ras_handle(&w, w.ram, RAS_REQUIRED, &v), -EIO);
	assert_true(w.u.os.now_ns(&w.u.os) - begin < UINT64_C(5000000000));
	begin = w.u.os.now_ns(&w.u.os);
	assert_int_equal(ras_handle(&w, w.ram, RAS_OPTIONAL, &v), -EIO);
	assert_true(w.u.os.now_ns(&w.u.os) - begin < UINT64_C(500000000));
	pthread_mutex_unlock(&w.u.e->lock);
	assert_true(unit_stats(&w.u).transient_failed >= 1);
	assert_int_equal(unit_stats(&w.u).unrecoverable, 0);
	ras_assert_all(&w);
	assert_int_equal(unit_stats(&w.u).heals, 1);
	ras_close(&w);
}

/*
 * Children.
 */

static void child_touches_beyond_the_end(void **state)
{
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	ras_chain(&w, 16, 32);
	touch(page_beyond_the_end());
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
	send_error(w.u.e, code);
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
	send_error(w.ram, RAS_OPTIONAL);
	pthread_mutex_unlock(&w.u.e->lock);
	ras_settle(&w);
	ras_lose(&w, 3);
	ras_assert_all(&w);
	ras_close(&w);
}

static void child_installs_again(void **state)
{
	struct sigaction sa = { .sa_sigaction = handler_above,
				.sa_flags = SA_SIGINFO };
	struct unit_ras w;
	char *page;

	(void)state;
	use_full(NULL);
	ras_chain(&w, 16, 32);
	assert_int_equal(sigaction(SIGBUS, &sa, &below), 0);
	tf_ras_uninstall(w.u.e);
	assert_int_equal(tf_ras_install(w.u.e, NULL), 0);
	page = page_beyond_the_end();
	touch(page);
	munmap(page, TF_PAGE);
	ras_lose(&w, 0);
	ras_assert_all(&w);
	ras_close(&w);
}

static void *touch_first(void *arg)
{
	const struct unit_ras *w = arg;
	char right[TF_PAGE];

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

#define CROWD (RAS_REQUESTS + 16)

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
	static char page[TF_PAGE];
	struct unit_ras w;

	(void)state;
	signal(SIGBUS, SIG_DFL);
	ras_chain(&w, 16, 32);
	send_error(page, RAS_OPTIONAL);
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
	close_second(&b);
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
		execl("/proc/self/exe", "test_ras_signal", "--child", name,
		      (char *)NULL);
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

static void staging_is_the_engines(void **state)
{
	struct unit_ras w;

	(void)state;
	ras_chain(&w, 16, 32);
	assert_lost_for_good(&w, w.u.e->staging);
	ras_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_handler_gets_what_is_not_ours),
		cmocka_unit_test(a_plain_handler_gets_what_is_not_ours),
		cmocka_unit_test(errno_is_preserved),
		cmocka_unit_test(a_handler_over_ours_stays),
		cmocka_unit_test(two_engines),
		cmocka_unit_test(installing_while_others_take_faults),
		cmocka_unit_test(optional_errors_heal),
		cmocka_unit_test(an_optional_vmce_becomes_required),
		cmocka_unit_test(an_optional_vmce_is_nobodys),
		cmocka_unit_test(threads_meet_at_a_shared_page),
		cmocka_unit_test(writers_meet_at_a_shared_page),
		cmocka_unit_test(threads_meet_at_a_private_page),
		cmocka_unit_test(addresses_of_the_store),
		cmocka_unit_test(memory_of_the_engine_is_lost_at_once),
		cmocka_unit_test(a_lock_that_is_held),
		cmocka_unit_test(default_actions_are_taken),
		cmocka_unit_test(the_policy_may_be_to_abort),
		cmocka_unit_test(ignored_signals_are_ignored),
		cmocka_unit_test(a_private_page_of_the_second_engine),
		cmocka_unit_test(a_degraded_engine_goes_on_healing),
		cmocka_unit_test(no_verdict_in_time_is_no_end),
		cmocka_unit_test(installing_under_a_handler_above),
		cmocka_unit_test(uninstalling_waits_for_waiters),
		cmocka_unit_test(a_crowd_is_healed),
		cmocka_unit_test(foreign_memory_has_the_default_action),
		cmocka_unit_test(staging_is_the_engines),
	};

	if (argc > 2 && strcmp(argv[1], "--child") == 0) {
		cmocka_set_test_filter(argv[2]);
		return unit_run(children);
	}
	if (argc > 1) /* one case, by its name */
		cmocka_set_test_filter(argv[1]);
	return unit_run(tests);
}
