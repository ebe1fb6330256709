/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first program of a drill host, linked statically: loads the modules of
 * the initramfs, mounts the file system of the machine outside, read-only,
 * with file systems of its own where a program writes, and runs the command
 * there. From its environment (the kernel's command line):
 *
 *   TF_BUILD    folder of the command; seen at /mnt/twinfold
 *   TF_KERNEL   this kernel's file, for guests; seen at /mnt/kernel
 *   TF_QEMU     folder of an unpacked QEMU, may be absent; /mnt/qemu
 *
 * Says on the console what failed, and must never end before the command. One
 * thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODULES "/modules"
#define COMPRESSED 4 /* MODULE_INIT_COMPRESSED_FILE */

static void complain(const char *what, const char *which)
{
	printf("drill-init: %s %s: %s\n", what, which, strerror(errno));
}

static void make_mount(const char *what, const char *where, const char *type,
		       unsigned long flags, const char *options)
{
	mkdir(where, 0755);
	if (mount(what, where, type, flags, options))
		complain("cannot mount", where);
}

static void load(const char *name)
{
	const char *end = strrchr(name, '.');
	int flags = end && strcmp(end, ".ko") ? COMPRESSED : 0;
	int fd = open(name, O_RDONLY);

	if (fd < 0 || syscall(SYS_finit_module, fd, "", flags))
		complain("cannot load", name);
	close(fd);
}

static int is_module(const struct dirent *entry)
{
	return strstr(entry->d_name, ".ko") != NULL;
}

/* They are numbered in the order in which they need each other. */
static void load_modules(void)
{
	struct dirent **names;
	int n = scandir(MODULES, &names, is_module, alphasort);

	if (n < 0 || chdir(MODULES))
		return;
	for (int i = 0; i < n; i++) {
		load(names[i]->d_name);
		free(names[i]);
	}
	free(names);
	if (chdir("/"))
		complain("cannot go to", "/");
}

/* A file or folder of the machine outside stays visible at `to`, whatever is
 * mounted over its own place. */
static void keep(const char *variable, const char *to)
{
	const char *path = getenv(variable);
	struct stat st = { 0 };
	char from[4096];

	if (!path)
		return;
	snprintf(from, sizeof(from), "/root%s", path);
	if (stat(from, &st))
		complain("cannot find", from);
	if (S_ISDIR(st.st_mode))
		mkdir(to, 0755);
	else
		close(open(to, O_WRONLY | O_CREAT, 0644));
	if (mount(from, to, NULL, MS_BIND, NULL))
		complain("cannot bind", from);
}

static void mount_all(void)
{
	make_mount("hostroot", "/root", "9p", MS_RDONLY,
		   "trans=virtio,version=9p2000.L,msize=262144,cache=loose");
	make_mount("mnt", "/root/mnt", "tmpfs", 0, NULL);
	keep("TF_BUILD", "/root/mnt/twinfold");
	keep("TF_KERNEL", "/root/mnt/kernel");
	keep("TF_QEMU", "/root/mnt/qemu");
	make_mount("tmp", "/root/tmp", "tmpfs", 0, "mode=1777");
	make_mount("run", "/root/run", "tmpfs", 0, NULL);
	make_mount("dev", "/root/dev", "devtmpfs", 0, NULL);
	make_mount("shm", "/root/dev/shm", "tmpfs", 0, NULL);
	make_mount("proc", "/root/proc", "proc", 0, NULL);
	make_mount("sys", "/root/sys", "sysfs", 0, NULL);
	make_mount("debug", "/root/sys/kernel/debug", "debugfs", 0, NULL);
	make_mount("security", "/root/sys/kernel/security", "securityfs", 0,
		   NULL);
}

static void run_command(void)
{
	char *argv[] = { "/mnt/twinfold/twinfold", "drill", "--inside", NULL };
	char *env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
			"/usr/bin:/sbin:/bin",
			"HOME=/tmp", NULL };

	if (chroot("/root") || chdir("/tmp"))
		complain("cannot go to", "/root");
	execve(argv[0], argv, env);
	complain("cannot run", argv[0]);
	_exit(1);
}

int main(void)
{
	pid_t pid;
	int status = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	make_mount("dev", "/dev", "devtmpfs", 0, NULL);
	load_modules();
	mount_all();
	pid = fork();
	if (!pid)
		run_command();
	while (pid > 0 && waitpid(-1, &status, 0) != pid)
		continue;
	printf("drill-init: the command ended with status 0x%x\n", status);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
