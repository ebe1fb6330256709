/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The preload library where something that it needs is missing: rights,
 * descriptors, threads, calls that a sandbox forbids. The VMM runs on, and what
 * is missing is named in the log and in stats.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/preload.h"

#define NOBODY 65534
#define NOBODY_ELSE 65533

/* include/uapi/linux/userfaultfd.h of Linux 6.1, fs.h of 6.7. */
#define USERFAULTFD_NEW 0xaa00u
#define SCAN_PAGEMAP 0xc0606610u

static char *named(void)
{
	char *ram = preload_map();

	CHECK(!madvise(ram, RAM_BYTES, MADV_MERGEABLE));
	CHECK(!madvise(ram, RAM_BYTES, MADV_DONTFORK));
	return ram;
}

static void merges_nothing(const char *ram)
{
	char desc[200];

	CHECK(!preload_ask("pass", NULL, desc, sizeof(desc)));
	CHECK(strstr(desc, "merging is off"));
	CHECK(!preload_stat("pages_merged"));
	CHECK(preload_vma_has(ram, " mg")); /* KSM may */
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static void no_node(void)
{
	char *ram = named();

	preload_wait(ram, "merging");
	CHECK(preload_has_reason("/dev/userfaultfd"));
	merges_nothing(ram);
}

/* The files of /proc/self are root's then, as after a change of user. */
static void no_proc(void)
{
	char *ram;

	CHECK(!prctl(PR_SET_DUMPABLE, 0));
	ram = named();
	preload_wait(ram, "merging");
	CHECK(preload_has_reason("/proc/self/pagemap"));
	merges_nothing(ram);
}

/* Each of two things is named, not the last one only. */
static void nothing_at_all(void)
{
	no_proc();
	CHECK(preload_has_reason("/dev/userfaultfd"));
}

#define FIELD(name) ((unsigned)offsetof(struct seccomp_data, name))

/* As a sandbox: userfaultfd(2), and this ioctl, are not permitted. */
static void forbid(unsigned request)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog filter = { .len = sizeof(code) / sizeof(code[0]),
				     .filter = code };

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
}

static void sandbox_userfaultfd(void)
{
	forbid(USERFAULTFD_NEW);
	no_node();
}

/* It can merge without; that takes more of a CPU. */
static void sandbox_scan(void)
{
	char *ram;

	forbid(SCAN_PAGEMAP);
	ram = preload_merged();
	CHECK(!preload_stat("scan_dirty"));
	for (unsigned i = 0; i < RAM_PAGES; i++)
		ram[(size_t)i * 4096] ^= 1;
	preload_passes();
	for (unsigned i = 0; i < RAM_PAGES; i++)
		ram[(size_t)i * 4096] ^= 1;
	preload_passes();
	CHECK(preload_stat("pages_merged") > RAM_PAGES / 4);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

/* --- scarcity -------------------------------------------------------------- */

#define WORKS 10
#define ALONE 11
#define OFF 12

/* A process that may have `n` of something while it begins. */
static int begin_with(int resource, rlim_t n)
{
	const char *ctl = getenv("TWINFOLD_CTL");
	struct rlimit was, less;
	char *ram;

	CHECK(ctl);
	CHECK(!getrlimit(resource, &was));
	less = was;
	less.rlim_cur = n;
	alarm(20);
	ram = preload_map();
	CHECK(!setrlimit(resource, &less));
	CHECK(!madvise(ram, RAM_BYTES, MADV_MERGEABLE));
	CHECK(!madvise(ram, RAM_BYTES, MADV_DONTFORK));
	CHECK(!setrlimit(resource, &was));
	if (access(ctl, F_OK)) {
		CHECK(preload_vma_has(ram, " mg"));
		CHECK(preload_holds(ram, 0, RAM_PAGES));
		return ALONE;
	}
	preload_wait(ram, "merging");
	if (preload_has_reason("/proc/self/fd")) {
		merges_nothing(ram);
		unlink(ctl);
		return OFF;
	}
	preload_passes();
	CHECK(preload_stat("pages_merged") > RAM_PAGES / 4);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	unlink(ctl);
	return WORKS;
}

/* What each number led to, by bits of these. */
#define SEEN(what) (1u << ((what)-WORKS))

/* With none it is left alone, with enough it works, and with anything between
 * it is one of the two, or says why it does not merge. */
static unsigned sweep(int resource, rlim_t from)
{
	unsigned seen = 0;
	int status = 0;
	pid_t pid;

	for (rlim_t n = from; n < from + 64; n++) {
		pid = fork();
		if (!pid)
			_exit(begin_with(resource, n));
		CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
		status = WEXITSTATUS(status);
		CHECK(status == ALONE || n > from);
		CHECK(status == ALONE || status == OFF || status == WORKS);
		seen |= SEEN(status);
		if (status == WORKS)
			break;
	}
	CHECK(seen & SEEN(WORKS));
	return seen;
}

static void few_descriptors(void)
{
	unsigned seen = sweep(RLIMIT_NOFILE, 3);

	CHECK(seen & SEEN(OFF));
}

/* Threads of all processes of a user count: this one, and its child. */
static void few_threads(void)
{
	sweep(RLIMIT_NPROC, 2);
}

static uint64_t cpu_us(void)
{
	struct rusage u;

	CHECK(!getrusage(RUSAGE_SELF, &u));
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* A client cannot be let in: it waits, and nobody turns in circles. */
static void no_descriptor_left(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct rlimit was, none;
	char greeting[100], *ram = preload_merged();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t begin;

	json_decref(preload_ask("stop", NULL, NULL, 0));
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", getenv("TWINFOLD_CTL"));
	CHECK(!getrlimit(RLIMIT_NOFILE, &was));
	none = was;
	none.rlim_cur = (rlim_t)fd + 1; /* all below are in use */
	CHECK(!setrlimit(RLIMIT_NOFILE, &none));
	CHECK(!connect(fd, (struct sockaddr *)&a, sizeof(a)));
	begin = cpu_us();
	usleep(500000);
	CHECK(cpu_us() - begin < 250000);
	CHECK(!setrlimit(RLIMIT_NOFILE, &was));
	CHECK(recv(fd, greeting, sizeof(greeting), 0) > 0);
	close(fd);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
}

static const struct preload_case cases[] = {
	{ .name = "no_node",
	  .run = no_node,
	  .uid = NOBODY,
	  .node = PRELOAD_NODE_GONE,
	  .said = "access to /dev/userfaultfd" },
	{ .name = "no_proc",
	  .run = no_proc,
	  .uid = NOBODY,
	  .node = PRELOAD_NODE_OPEN,
	  .said = "/proc/self/pagemap cannot be read" },
	{ .name = "nothing_at_all",
	  .run = nothing_at_all,
	  .uid = NOBODY,
	  .node = PRELOAD_NODE_GONE,
	  .said = "access to /dev/userfaultfd" },
	{ .name = "sandbox_userfaultfd",
	  .run = sandbox_userfaultfd,
	  .uid = NOBODY,
	  .node = PRELOAD_NODE_OPEN,
	  .said = "access to /dev/userfaultfd" },
	{ .name = "sandbox_scan",
	  .run = sandbox_scan,
	  .uid = NOBODY,
	  .node = PRELOAD_NODE_OPEN,
	  .said = "PAGEMAP_SCAN" },
	{ .name = "few_descriptors",
	  .run = few_descriptors,
	  .said = "Too many open files" },
	{ .name = "few_threads",
	  .run = few_threads,
	  .uid = NOBODY_ELSE,
	  .node = PRELOAD_NODE_OPEN,
	  .said = "Resource temporarily unavailable" },
	{ .name = "no_descriptor_left", .run = no_descriptor_left },
};

int main(int argc, char **argv)
{
	(void)argc;
	return preload_main(argv, cases, sizeof(cases) / sizeof(cases[0]));
}
