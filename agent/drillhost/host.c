/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See host.h: starts and ends the QEMU of a drill host. */
#include "agent/drillhost/host.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/drillhost/gdb.h"
#include "agent/drillhost/monitor.h"
#include "agent/verbs.h"

#define BOOT_S 120.0
#define MEM_MIB 1024

int host_fail(int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("twinfold drill: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	return code;
}

const char *host_vendor_name(enum host_vendor vendor)
{
	return vendor == HOST_AMD ? "amd" : "intel";
}

/* ---- starting ---- */

enum {
	FD_INSIDE,
	FD_QMP,
	FD_GDB,
	N_FDS
};

struct command {
	char initrd[64], log[80], cpus[16], mem[16];
	char program[PATH_MAX + 32], data[PATH_MAX + 32], bios[PATH_MAX + 32];
	char chardev[N_FDS][64];
	char append[3 * PATH_MAX + 256];
};

/* A warning of the kernel has level 4, and is to reach the console. Whether timer
 * interrupts come in time is not checked at boot: on a busy machine they do not, and
 * the kernel would panic. */
static void describe_append(const struct host_image *image,
			    const struct host_profile *p, struct command *ret)
{
	int n = snprintf(ret->append, sizeof(ret->append),
			 "console=ttyS0 loglevel=5 panic=-1 no_timer_check "
			 "TF_BUILD=%s TF_KERNEL=%s",
			 image->build, image->kernel);

	if (p->spare)
		n += snprintf(ret->append + n, sizeof(ret->append) - (size_t)n,
			      " intel_iommu=on");
	if (*image->qemu)
		n += snprintf(ret->append + n, sizeof(ret->append) - (size_t)n,
			      " TF_QEMU=%s", image->qemu);
	if (p->nodes > 1)
		snprintf(ret->append + n, sizeof(ret->append) - (size_t)n,
			 " numa=fake=%u", p->nodes);
}

/* The unpacked one, if it is there: QEMU before 8.1 may run code that the
 * kernel has replaced. */
static void describe_qemu(const struct host_image *image, struct command *ret)
{
	snprintf(ret->program, sizeof(ret->program), "%s%s%s", image->qemu,
		 *image->qemu ? "/usr/bin/" : "", "qemu-system-x86_64");
	snprintf(ret->data, sizeof(ret->data), "%s/usr/share/qemu",
		 image->qemu);
	snprintf(ret->bios, sizeof(ret->bios), "%s/usr/share/seabios",
		 image->qemu);
}

static void describe(const struct host_image *image,
		     const struct host_profile *p, const struct host *host,
		     const int fds[N_FDS], struct command *ret)
{
	static const char *const ids[N_FDS] = { "inside", "qmp", "gdb" };

	snprintf(ret->initrd, sizeof(ret->initrd), "/proc/self/fd/%d",
		 image->initrd[p->vendor]);
	snprintf(ret->log, sizeof(ret->log),
		 "file,id=log,append=on,path=/proc/self/fd/%d", host->log);
	snprintf(ret->cpus, sizeof(ret->cpus), "%u", p->cpus);
	snprintf(ret->mem, sizeof(ret->mem), "%uM",
		 p->mem_mib ? p->mem_mib : MEM_MIB);
	for (int i = 0; i < N_FDS; i++)
		snprintf(ret->chardev[i], sizeof(ret->chardev[i]),
			 "socket,id=%s,fd=%d", ids[i], fds[i]);
	describe_qemu(image, ret);
	describe_append(image, p, ret);
}

static char file_system[] = "local,path=/,mount_tag=hostroot,"
			    "security_model=none,readonly=on,multidevs=remap";

/* What QEMU says of itself goes to the log as well. */
static void prepare(const struct host_image *image, const struct host *host)
{
	char path[PATH_MAX + 32];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	dup2(host->log, STDOUT_FILENO);
	dup2(host->log, STDERR_FILENO);
	snprintf(path, sizeof(path), "%s/usr/lib/x86_64-linux-gnu",
		 image->qemu);
	if (*image->qemu)
		setenv("LD_LIBRARY_PATH", path, 1);
}

/* A thread for each CPU: with one for all, Linux guests under nested KVM hang. */
static _Noreturn void run(const struct host_image *image,
			  const struct host *host, struct command *c)
{
	static char *const cpu[] = { "EPYC,+svm", "Skylake-Server" };
	const bool spare = host->profile.spare;
	char *argv[] = { c->program,
			 "-L",
			 c->data,
			 "-L",
			 c->bios,
			 "-accel",
			 "tcg,thread=multi",
			 "-cpu",
			 cpu[host->profile.vendor],
			 "-smp",
			 c->cpus,
			 "-m",
			 c->mem,
			 "-nodefaults",
			 "-no-user-config",
			 "-no-reboot",
			 "-display",
			 "none",
			 "-chardev",
			 c->log,
			 "-serial",
			 "chardev:log",
			 "-kernel",
			 (char *)image->kernel,
			 "-initrd",
			 c->initrd,
			 "-append",
			 c->append,
			 "-virtfs",
			 file_system,
			 "-chardev",
			 c->chardev[FD_INSIDE],
			 "-chardev",
			 c->chardev[FD_QMP],
			 "-chardev",
			 c->chardev[FD_GDB],
			 "-device",
			 "virtio-serial-pci",
			 "-device",
			 "virtserialport,chardev=inside,name=twinfold",
			 "-mon",
			 "chardev=qmp,mode=control",
			 "-gdb",
			 "chardev:gdb",
			 "-machine",
			 spare ? "q35" : "pc",
			 spare ? "-device" : NULL, /* for a guest: last */
			 "edu",
			 "-device",
			 "intel-iommu",
			 NULL };

	prepare(image, host);
	execvp(argv[0], argv);
	host_fail(TF_EXIT_HOST, "cannot run %s: %s", argv[0], strerror(errno));
	_exit(TF_EXIT_HOST);
}

static int spawn(const struct host_image *image, struct host *host,
		 const int ours[N_FDS], const int theirs[N_FDS])
{
	struct command *c = calloc(1, sizeof(*c));

	if (!c)
		return host_fail(TF_EXIT_HOST, "no memory");
	describe(image, &host->profile, host, theirs, c);
	host->pid = fork();
	if (!host->pid) {
		for (int i = 0; i < N_FDS; i++)
			close(ours[i]);
		run(image, host, c);
	}
	free(c);
	if (host->pid > 0)
		return TF_EXIT_OK;
	host->pid = 0;
	return host_fail(TF_EXIT_HOST, "cannot fork");
}

static int open_sockets(int ours[N_FDS], int theirs[N_FDS])
{
	for (int i = 0; i < N_FDS; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			return host_fail(TF_EXIT_HOST, "socketpair: %s",
					 strerror(errno));
		ours[i] = pair[0];
		theirs[i] = pair[1];
	}
	return TF_EXIT_OK;
}

static void show_end_of_log(const struct host *host)
{
	char *log = host_log(host);
	size_t n = log ? strlen(log) : 0;

	if (n)
		fprintf(stderr, "%s\n", log + (n > 1500 ? n - 1500 : 0));
	free(log);
}

static int wait_ready(struct host *host, json_t **hello)
{
	int r = monitor_begin(&host->qmp);

	if (!r)
		r = monitor_stop(&host->qmp);
	if (!r)
		r = gdb_physical(host->gdb);
	if (!r)
		r = monitor_resume(&host->qmp);
	if (r) {
		show_end_of_log(host);
		return host_fail(TF_EXIT_FAILED, "QEMU does not answer: %s",
				 strerror(-r));
	}
	r = channel_receive(&host->inside, BOOT_S, hello);
	if (!r)
		return TF_EXIT_OK;
	show_end_of_log(host);
	return host_fail(TF_EXIT_FAILED,
			 "the drill host did not come up (%s); the end of its "
			 "log is above",
			 r == -EPIPE ? "QEMU has ended" : strerror(-r));
}

/* Two write to it, each at its end. */
static int open_log(void)
{
	int fd = memfd_create("console", 0);

	if (fd >= 0 && fcntl(fd, F_SETFL, O_APPEND)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

int host_start(const struct host_image *image,
	       const struct host_profile *profile, struct host *host,
	       json_t **hello)
{
	int ours[N_FDS] = { -1, -1, -1 }, theirs[N_FDS] = { -1, -1, -1 };
	int code = open_sockets(ours, theirs);

	host->profile = *profile;
	host->pid = 0;
	host->log = open_log();
	host->inside_fd = ours[FD_INSIDE];
	host->qmp_fd = ours[FD_QMP];
	host->gdb = ours[FD_GDB];
	channel_init(&host->inside, ours[FD_INSIDE]);
	channel_init(&host->qmp, ours[FD_QMP]);
	signal(SIGPIPE, SIG_IGN);
	if (!code)
		code = spawn(image, host, ours, theirs);
	for (int i = 0; i < N_FDS; i++)
		if (theirs[i] >= 0)
			close(theirs[i]);
	if (!code)
		code = wait_ready(host, hello);
	return code;
}

/* ---- ending ---- */

void host_stop(struct host *host)
{
	if (host->pid <= 0)
		return;
	kill(host->pid, SIGKILL);
	while (waitpid(host->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	host->pid = 0;
}

void host_fini(struct host *host)
{
	const int fds[] = { host->inside_fd, host->qmp_fd, host->gdb,
			    host->log };

	host_stop(host);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

char *host_log(const struct host *host)
{
	struct stat st;
	char *text;
	ssize_t n;

	if (fstat(host->log, &st))
		return NULL;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return NULL;
	n = pread(host->log, text, (size_t)st.st_size, 0);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}
