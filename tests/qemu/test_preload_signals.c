/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The preload library and memory errors: what has a twin heals in any thread,
 * also where the VMM blocks SIGBUS; what has none goes to the VMM's handler,
 * and an error that nobody touched to its signalfd.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/preload.h"

#define CODE_OPTIONAL 5 /* BUS_MCEERR_AO */

static sigjmp_buf back;
static volatile sig_atomic_t handled;
static void *volatile handled_addr;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	handled++;
	handled_addr = info->si_addr;
	siglongjmp(back, 1);
}

static void install(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus,
				.sa_flags = SA_SIGINFO },
			 now;

	CHECK(!sigaction(SIGBUS, &sa, NULL));
	CHECK(!sigaction(SIGBUS, NULL, &now) && now.sa_sigaction == on_bus);
}

static void block_sigbus(void)
{
	sigset_t bus;

	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	CHECK(!pthread_sigmask(SIG_BLOCK, &bus, NULL));
}

static bool believes_blocked(void)
{
	sigset_t now;

	CHECK(!pthread_sigmask(SIG_BLOCK, NULL, &now));
	return sigismember(&now, SIGBUS) == 1;
}

/* Lose a page of every content that has a second copy; all read right. */
static void lose_shared(char *ram)
{
	unsigned lost = 0;

	CHECK(preload_stat("pages_recoverable") > 100);
	for (unsigned i = 1; i < 32; i += 2)
		lost += preload_inject((uint64_t)i * 4096);
	CHECK(lost == 16);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	CHECK(preload_stat("heals") >= 16);
	CHECK(!preload_stat("vmces"));
}

static void heals(void)
{
	char *ram;

	install();
	ram = preload_merged();
	lose_shared(ram);
	CHECK(!handled);
}

/* Pages in one mapping: those beside a lost one stay write-protected. */
static void beside_lost(void)
{
	char *ram = preload_map();

	for (unsigned i = 0; i < RAM_PAGES; i++)
		preload_fill_page(ram + (size_t)i * 4096, i % 64 * 2);
	CHECK(!madvise(ram, RAM_BYTES, MADV_MERGEABLE));
	CHECK(!madvise(ram, RAM_BYTES, MADV_DONTFORK));
	preload_wait(ram, "merging");
	preload_passes();
	CHECK(preload_stat("pages_recoverable") == RAM_PAGES);
	CHECK(preload_vma_has(ram + 4096 * 2049ul, " uw"));
	CHECK(preload_inject(UINT64_C(4096) * 2050));
	CHECK(preload_vma_has(ram + 4096 * 2049ul, " uw"));
	CHECK(preload_vma_has(ram + 4096 * 2051ul, " uw"));
	CHECK(preload_page_holds(ram + 4096 * 2050ul, 2050 % 64 * 2));
	CHECK(preload_stat("heals") == 1);
}

static void *reader(void *ram)
{
	CHECK(believes_blocked());
	lose_shared(ram);
	return NULL;
}

/* QEMU blocks SIGBUS before it names its RAM; its threads inherit that. */
static void heals_where_blocked(void)
{
	pthread_t thread;
	char *ram;

	install();
	block_sigbus();
	ram = preload_merged();
	CHECK(believes_blocked());
	CHECK(!pthread_create(&thread, NULL, reader, ram));
	CHECK(!pthread_join(thread, NULL));
	CHECK(preload_inject(4096));
	CHECK(preload_page_holds(ram + 4096, 1));
	CHECK(!handled);
}

static void view_of_mask(void)
{
	sigset_t all, old;

	CHECK(preload_merged());
	CHECK(!believes_blocked());
	sigfillset(&all);
	CHECK(!pthread_sigmask(SIG_SETMASK, &all, &old));
	CHECK(believes_blocked());
	CHECK(!pthread_sigmask(SIG_SETMASK, &old, NULL));
	CHECK(!believes_blocked());
	CHECK(!sigprocmask(SIG_SETMASK, &all, NULL) && believes_blocked());
	CHECK(sigprocmask(77, &all, NULL) == -1 && errno == EINVAL);
}

static void lost(void)
{
	char *volatile ram;

	install();
	ram = preload_merged();
	CHECK(preload_inject(UINT64_C(100) * 4096));
	if (!sigsetjmp(back, 1))
		CHECK(!preload_page_holds(ram + (size_t)100 * 4096, 100));
	CHECK(handled == 1);
	CHECK(((uintptr_t)handled_addr & ~4095ul) ==
	      (uintptr_t)ram + 100ul * 4096);
	CHECK(preload_holds(ram, 0, 100) && preload_holds(ram, 101, RAM_PAGES));
}

/* As without the library: nobody handles it, so the process ends. */
static void lost_unhandled(void)
{
	char *ram = preload_merged();

	CHECK(preload_inject(UINT64_C(100) * 4096));
	CHECK(!preload_page_holds(ram + (size_t)100 * 4096, 100));
}

/* QEMU's way to die of an error that it cannot handle. */
static void raised_again(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	install();
	CHECK(preload_merged());
	CHECK(!sigaction(SIGBUS, &dfl, NULL));
	raise(SIGBUS);
}

static void sent_by_process(void)
{
	install();
	CHECK(preload_merged());
	if (!sigsetjmp(back, 1))
		kill(getpid(), SIGBUS);
	CHECK(handled == 1);
}

static void by_signal(void)
{
	CHECK(preload_merged());
	CHECK(signal(SIGBUS, SIG_IGN) == SIG_DFL);
	CHECK(signal(SIGBUS, SIG_DFL) == SIG_IGN);
	CHECK(signal(SIGUSR1, SIG_IGN) == SIG_DFL);
}

/* Action optional, in the main thread of a VMM that reads a signalfd. */
static void optional(void)
{
	struct signalfd_siginfo got;
	struct sigaction now;
	siginfo_t info = { .si_signo = SIGBUS, .si_code = CODE_OPTIONAL };
	struct pollfd fd = { .events = POLLIN };
	sigset_t bus;
	char *ram;

	install();
	block_sigbus();
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	fd.fd = signalfd(-1, &bus, SFD_CLOEXEC);
	ram = preload_merged();
	CHECK(preload_inject(UINT64_C(100) * 4096));
	info.si_addr = ram + (size_t)100 * 4096;
	CHECK(!syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS,
		       &info));
	CHECK(poll(&fd, 1, 5000) == 1);
	CHECK(read(fd.fd, &got, sizeof(got)) == sizeof(got));
	CHECK(got.ssi_signo == SIGBUS && got.ssi_code == CODE_OPTIONAL);
	CHECK(got.ssi_addr == (uintptr_t)info.si_addr);
	CHECK(!sigaction(SIGBUS, NULL, &now) && now.sa_sigaction == on_bus);
	/* And healing goes on in this thread. */
	CHECK(preload_inject(4096));
	CHECK(preload_page_holds(ram + 4096, 1));
	CHECK(!handled);
}

/* One that has a twin is nobody's business. */
static void optional_healed(void)
{
	siginfo_t info = { .si_signo = SIGBUS, .si_code = CODE_OPTIONAL };
	char *ram;

	install();
	ram = preload_merged();
	CHECK(preload_inject(4096));
	info.si_addr = ram + 4096;
	CHECK(!syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS,
		       &info));
	CHECK(preload_page_holds(ram + 4096, 1));
	CHECK(!handled && preload_stat("heals") == 1);
}

static void without_ras(void)
{
	char *ram;

	install();
	block_sigbus();
	ram = preload_merged();
	CHECK(!preload_inject(4096));
	CHECK(believes_blocked());
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static const struct preload_case cases[] = {
	{ .name = "heals", .run = heals },
	{ .name = "beside_lost", .run = beside_lost },
	{ .name = "heals_where_blocked", .run = heals_where_blocked },
	{ .name = "view_of_mask", .run = view_of_mask },
	{ .name = "lost", .run = lost, .said = "no healthy copy" },
	{ .name = "lost_unhandled", .run = lost_unhandled, .signal = SIGBUS },
	{ .name = "raised_again", .run = raised_again, .signal = SIGBUS },
	{ .name = "sent_by_process", .run = sent_by_process },
	{ .name = "by_signal", .run = by_signal },
	{ .name = "optional", .run = optional },
	{ .name = "optional_healed", .run = optional_healed },
	{ .name = "without_ras",
	  .run = without_ras,
	  .env = { "TWINFOLD_MODE=dedup" } },
};

int main(int argc, char **argv)
{
	(void)argc;
	return preload_main(argv, cases, sizeof(cases) / sizeof(cases[0]));
}
