/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fixture of the unit tests of ras/. */
#include "lib/unit_ras.h"
#include "lib/ras_idle.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/chain.h"
#include "engine/store.h"
#include "ras/internal.h"

#define SHARED_SEED 7

static void on_event(void *user, const struct tf_ras_verdict *v)
{
	struct unit_ras *w = user;

	pthread_mutex_lock(&w->lock);
	if (w->nevents < RAS_EVENTS)
		w->event[w->nevents++] = *v;
	pthread_mutex_unlock(&w->lock);
}

void ras_init(struct unit_ras *w, unsigned max)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	unit_init(&w->u);
	w->u.opts.smart_scan = 0;
	w->u.opts.max_page_sharing = max;
}

void ras_open(struct unit_ras *w, unsigned pages)
{
	struct tf_ras_opts opts = { .size = sizeof(opts),
				    .event = on_event,
				    .event_user = w };

	w->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(w->eventfd >= 0);
	opts.vmce_eventfd = w->eventfd;
	unit_open(&w->u);
	if (!unit_stats(&w->u).can_merge)
		unit_skip("this host cannot merge pages");
	assert_int_equal(tf_ras_install(w->u.e, &opts), 0);
	w->g = unit_guest(&w->u, NULL);
	w->pages = pages;
	w->ram = unit_ram(&w->u, pages * TF_PAGE);
	unit_slot(w->g, 0, 0, w->ram, pages * TF_PAGE);
}

void ras_close(struct unit_ras *w)
{
	ras_settle(w);
	close(w->eventfd);
	unit_close(&w->u);
	pthread_mutex_destroy(&w->lock);
}

char *ras_page(const struct unit_ras *w, unsigned page)
{
	return w->ram + page * TF_PAGE;
}

void ras_merge_all(struct unit_ras *w)
{
	for (unsigned i = 0; i < w->pages; i++)
		unit_fill(ras_page(w, i), SHARED_SEED);
	for (unsigned i = 0;
	     i < 8 && unit_guest_stats(w->g).pages_merged < w->pages; i++)
		unit_pass(&w->u);
	assert_int_equal(unit_guest_stats(w->g).pages_merged, w->pages);
}

void ras_chain(struct unit_ras *w, unsigned max, unsigned pages)
{
	ras_init(w, max);
	ras_open(w, pages);
	ras_merge_all(w);
}

void ras_unique(struct unit_ras *w, unsigned pages)
{
	ras_init(w, 256);
	ras_open(w, pages);
	unit_fill_run(w->ram, pages, 1);
	unit_passes(&w->u, 3);
}

uint32_t ras_dup(struct unit_ras *w, unsigned page)
{
	struct unit_spot s = unit_spot(&w->u, ras_page(w, page));

	assert_int_equal(s.was.state, TF_FRAME_SHARED);
	return s.was.shared.dup;
}

uint32_t ras_slot(struct unit_ras *w, unsigned page)
{
	assert_int_equal(unit_state(&w->u, ras_page(w, page)), TF_FRAME_SHARED);
	return unit_dup(&w->u, ras_page(w, page)).slot;
}

unsigned ras_page_beside(struct unit_ras *w, uint32_t a, uint32_t b)
{
	for (unsigned i = 0; i < w->pages; i++) {
		struct unit_spot s = unit_spot(&w->u, ras_page(w, i));

		if (s.was.state == TF_FRAME_SHARED && s.was.shared.dup != a &&
		    s.was.shared.dup != b)
			return i;
	}
	fail_msg("there is no other dup");
	return 0;
}

void ras_lose(struct unit_ras *w, unsigned page)
{
	assert_int_equal(
		tf_ras_inject(w->u.e, w->g, page * TF_PAGE, TF_INJECT_SIM), 0);
}

int ras_handle(struct unit_ras *w, const void *addr, int code,
	       struct tf_ras_verdict *v)
{
	siginfo_t info = { .si_signo = SIGBUS, .si_code = code };

	*v = (struct tf_ras_verdict){ .size = sizeof(*v) };
	info.si_addr = (void *)addr;
	return tf_ras_handle(w->u.e, &info, v);
}

void ras_settle(struct unit_ras *w)
{
	assert_true(ras_wait_idle(w->u.e));
}

unsigned ras_events(struct unit_ras *w, enum tf_ras_class cls)
{
	unsigned n = 0;

	ras_settle(w);
	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < w->nevents; i++)
		n += w->event[i].cls == cls;
	pthread_mutex_unlock(&w->lock);
	return n;
}

unsigned ras_take(struct unit_ras *w, const struct tf_guest *g,
		  uint8_t told[RAS_PAGES])
{
	struct tf_vmce vmce = { .size = sizeof(vmce) };
	unsigned n = 0;

	ras_settle(w);
	memset(told, 0, RAS_PAGES);
	for (; !tf_ras_take_vmce(w->u.e, 0, &vmce); n++) {
		assert_ptr_equal(vmce.guest, g);
		assert_int_equal(vmce.gpa % TF_PAGE, 0);
		assert_true(vmce.gpa / TF_PAGE < RAS_PAGES);
		told[vmce.gpa / TF_PAGE]++;
	}
	return n;
}

void ras_assert_all(const struct unit_ras *w)
{
	for (unsigned i = 0; i < w->pages; i++)
		unit_assert_page(ras_page(w, i), SHARED_SEED);
}

void ras_assert_told(struct unit_ras *w, unsigned from, unsigned n)
{
	uint8_t told[RAS_PAGES];

	assert_int_equal(ras_take(w, w->g, told), n);
	for (unsigned i = 0; i < RAS_PAGES; i++)
		assert_int_equal(told[i], i >= from && i < from + n);
}

void ras_assert_no_vmce(struct unit_ras *w)
{
	ras_assert_told(w, 0, 0);
	assert_int_equal(unit_stats(&w->u).vmces, 0);
}

const struct tf_store *ras_store(struct unit_ras *w)
{
	return unit_spot(&w->u, w->ram).b->region->store;
}

unsigned ras_sharers(struct unit_ras *w, uint32_t dup)
{
	unsigned n;

	pthread_mutex_lock(&w->u.e->lock);
	n = tf_dup_get(w->u.e, dup)->nsharers;
	pthread_mutex_unlock(&w->u.e->lock);
	return n;
}

void ras_thin_out(struct unit_ras *w, uint32_t dup, unsigned keep)
{
	unsigned i = w->pages;

	while (ras_sharers(w, dup) > keep && i--) {
		struct unit_spot s = unit_spot(&w->u, ras_page(w, i));

		if (s.was.state == TF_FRAME_SHARED && s.was.shared.dup == dup)
			unit_fill(ras_page(w, i), 100 + i);
	}
	assert_int_equal(ras_sharers(w, dup), keep);
}

atomic_uint ras_called;
void *volatile ras_called_for;
struct sigaction ras_below;

void ras_send_error(const void *addr, int code)
{
	siginfo_t info = { .si_signo = SIGBUS, .si_code = code };

	info.si_addr = (void *)addr;
	info.si_addr_lsb = TF_PAGE_SHIFT;
	assert_int_equal(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(),
				 SIGBUS, &info),
			 0);
}

char *ras_page_beyond(void)
{
	int fd = memfd_create("short", 0);
	char *at = mmap(NULL, TF_PAGE, PROT_READ, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	close(fd);
	return at;
}

void ras_handler_below(int sig, siginfo_t *info, void *context)
{
	if (sig == SIGBUS && context)
		atomic_fetch_add(&ras_called, 1);
	ras_called_for = info->si_addr;
	if (info->si_code > 0)
		(void)mmap(info->si_addr, TF_PAGE, PROT_READ,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

void ras_handler_above(int sig, siginfo_t *info, void *context)
{
	atomic_fetch_add(&ras_called, 1);
	ras_below.sa_sigaction(sig, info, context);
}

void ras_use_handler(struct sigaction *old)
{
	struct sigaction sa = { .sa_sigaction = ras_handler_below,
				.sa_flags = SA_SIGINFO };

	atomic_store(&ras_called, 0);
	assert_int_equal(sigaction(SIGBUS, &sa, old), 0);
}

void ras_touch(const void *page)
{
	(void)*(volatile const char *)page;
}

void ras_close_second(struct unit_ras *w)
{
	ras_settle(w);
	close(w->eventfd);
	tf_engine_destroy(w->u.e);
	unit_unmap(&w->u, w->ram);
}
