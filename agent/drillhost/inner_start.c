/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See inner.h: how the guest comes to be. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/cpio.h"
#include "agent/drillhost/inner.h"
#include "agent/drillhost/monitor.h"
#include "agent/places.h"

#define KERNEL "/mnt/kernel"
#define MEM "128M"
#define NEWER_QEMU "/mnt/qemu/usr/bin/qemu-system-x86_64"
#define NEWER_LIBRARIES "/mnt/qemu/usr/lib/x86_64-linux-gnu"
#define NEWER_DATA "/mnt/qemu/usr/share/qemu"
#define NEWER_BIOS "/mnt/qemu/usr/share/seabios"

extern const unsigned char linux_work_start[], linux_work_end[];

static const char *const library_places[] = {
	"libtwinfold-qemu.so",
	"/usr/lib/x86_64-linux-gnu/libtwinfold-qemu.so",
	"/usr/local/lib/x86_64-linux-gnu/libtwinfold-qemu.so",
	"/usr/lib64/libtwinfold-qemu.so",
	"/usr/lib/libtwinfold-qemu.so",
};

const char *inner_qemu(void)
{
	return access(NEWER_QEMU, X_OK) ? "qemu-system-x86_64" : NEWER_QEMU;
}

/* ---- in the child ---- */

/* QEMU asks the kernel to be told early of lost pages: the call does nothing,
 * and says that it did. */
static void refuse_early(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_MCE_KILL, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]),
				      .filter = code };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(1);
}

static void find_library(char ret[PATH_MAX])
{
	if (!places_find(library_places,
			 sizeof(library_places) / sizeof(library_places[0]),
			 ret))
		*ret = '\0';
}

static void load_library(const struct inner *inner)
{
	char path[PATH_MAX] = CONFINE_LIBRARY;

	if (!inner->opts.confine)
		find_library(path);
	setenv("LD_PRELOAD", path, 1);
	setenv("TWINFOLD_CTL", inner->ctl_path, 1);
	setenv("TWINFOLD_PACE", "100", 1);
}

struct command {
	char initrd[48], console[64], reports[80], monitor[48], append[128],
		device[64];
};

static void describe(const struct inner *inner, int initrd, int qmp,
		     struct command *ret)
{
	snprintf(ret->initrd, sizeof(ret->initrd), "/proc/self/fd/%d", initrd);
	snprintf(ret->console, sizeof(ret->console), "file:/proc/self/fd/%d",
		 inner->console);
	snprintf(ret->reports, sizeof(ret->reports),
		 "file,id=reports,path=/proc/self/fd/%d", inner->reports);
	snprintf(ret->monitor, sizeof(ret->monitor), "socket,id=qmp,fd=%d",
		 qmp);
	snprintf(ret->append, sizeof(ret->append),
		 "console=ttyS0 loglevel=4 panic=-1 TF_SEED=%" PRIu64,
		 inner->cell->seed);
	snprintf(ret->device, sizeof(ret->device), "vfio-pci,host=%s",
		 inner->device);
}

/* All that the next program finds in this process. */
static void prepare(const struct inner *inner)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	dup2(inner->errors, STDERR_FILENO);
	dup2(inner->errors, STDOUT_FILENO);
	if (*inner_qemu() == '/')
		setenv("LD_LIBRARY_PATH", NEWER_LIBRARIES, 1);
	if (inner->opts.late)
		refuse_early();
	if (inner->opts.confine && confine_next())
		_exit(1);
	if (inner->cell->row->configuration == ROW_TWINFOLD)
		load_library(inner);
}

/* The device, if there is one, comes last. */
static _Noreturn void run(const struct inner *inner, struct command *c)
{
	char *machine = *inner->device ? "q35,mem-merge=on" :
					 "microvm,mem-merge=on,rtc=on";
	char *device = *inner->device ? "-device" : NULL;
	char *argv[] = { (char *)inner_qemu(),
			 "-L",
			 NEWER_DATA,
			 "-L",
			 NEWER_BIOS,
			 "-accel",
			 "kvm",
			 "-machine",
			 machine,
			 "-cpu",
			 "host,-xsave,-svm",
			 "-m",
			 MEM,
			 "-nodefaults",
			 "-no-user-config",
			 "-no-reboot",
			 "-display",
			 "none",
			 "-serial",
			 c->console,
			 "-chardev",
			 c->reports,
			 "-device",
			 "isa-debugcon,iobase=0xe9,chardev=reports",
			 "-chardev",
			 c->monitor,
			 "-mon",
			 "chardev=qmp,mode=control",
			 "-kernel",
			 KERNEL,
			 "-initrd",
			 c->initrd,
			 "-append",
			 c->append,
			 device,
			 c->device,
			 NULL };

	prepare(inner);
	execvp(argv[0], argv);
	_exit(1);
}

/* ---- in the cell's process ---- */

char *inner_text(int fd)
{
	struct stat st;
	char *text;
	ssize_t n;

	if (fstat(fd, &st))
		return NULL;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return NULL;
	n = pread(fd, text, (size_t)st.st_size, 0);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static int make_initrd(void)
{
	int fd = memfd_create("initrd", 0);
	FILE *out = fd < 0 ? NULL : fdopen(dup(fd), "w");

	if (!out)
		return -errno;
	cpio_put_init(out, linux_work_start,
		      (size_t)(linux_work_end - linux_work_start));
	cpio_end(out);
	return fclose(out) ? -EIO : fd;
}

static int spawn(struct inner *inner)
{
	int initrd = make_initrd(), pair[2];
	struct command command;

	if (initrd < 0)
		return initrd;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return -errno;
	fcntl(pair[0], F_SETFD, FD_CLOEXEC);
	inner->qmp_fd = pair[0];
	channel_init(&inner->qmp, pair[0]);
	describe(inner, initrd, pair[1], &command);
	inner->pid = fork();
	if (!inner->pid)
		run(inner, &command);
	close(pair[1]);
	close(initrd);
	return inner->pid < 0 ? -errno : 0;
}

static int make_files(struct inner *inner)
{
	inner->console = memfd_create("console", 0);
	inner->reports = memfd_create("reports", 0);
	inner->errors = memfd_create("errors", 0);
	return inner->console < 0 || inner->reports < 0 || inner->errors < 0 ?
		       -errno :
		       0;
}

/* Two writers: each line goes to the end. */
static int append_errors(const struct inner *inner)
{
	return fcntl(inner->errors, F_SETFL, O_APPEND) ? -errno : 0;
}

static int confine(const struct inner *inner)
{
	char library[PATH_MAX];

	if (!inner->opts.confine)
		return 0;
	find_library(library);
	return confine_load(inner->opts.confine, library);
}

int inner_start(struct cell *cell, const struct inner_opts *opts,
		struct inner *inner)
{
	int r;

	memset(inner, 0, sizeof(*inner));
	inner->cell = cell;
	inner->opts = *opts;
	snprintf(inner->ctl_path, sizeof(inner->ctl_path), "%s",
		 opts->confine ? CONFINE_CTL : "/tmp/inner.ctl");
	unlink(inner->ctl_path);
	cell->row->ran = true;
	cell->row->passed = !*cell->row->why;
	cell->row->guests = 1;
	signal(SIGPIPE, SIG_IGN);
	r = make_files(inner);
	if (!r)
		r = append_errors(inner);
	if (!r)
		r = victim_count(&inner->corrupted);
	if (!r && opts->assigned)
		r = assign_take(inner->device);
	if (!r)
		r = confine(inner);
	if (!r)
		r = spawn(inner);
	if (!r)
		r = monitor_begin(&inner->qmp);
	if (r)
		return inner_failed(inner, "QEMU cannot be started", r);
	r = opts->early ? inner_start_merging(inner) :
			  inner_command(inner, "stop");
	return r ? r : inner_rounds(inner, 2);
}

void inner_end(struct inner *inner)
{
	const int fds[] = { inner->console, inner->reports, inner->errors,
			    inner->qmp_fd, inner->ctl.fd };

	kill(inner->pid, SIGKILL);
	waitpid(inner->pid, NULL, 0);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] > 0)
			close(fds[i]);
}
