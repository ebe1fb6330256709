/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds what a bench guest is made of, before anything is started: QEMU, a
 * kernel, the library beside this command. No state, no locks.
 */
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/bench_qemu.h"

/* Relative to the folder of this command. */
static const char *const library_places[] = {
	"libtwinfold-qemu.so",
	"../lib/x86_64-linux-gnu/libtwinfold-qemu.so",
	"../lib64/libtwinfold-qemu.so",
	"../lib/libtwinfold-qemu.so",
};

static const char *const kernel_places[] = {
	"../build-guest/boot/vmlinuz-*",
	"/boot/vmlinuz-*",
};

static bool in_path(const char *program)
{
	const char *dir = getenv("PATH");
	char path[PATH_MAX];

	while (dir && *dir) {
		int n = (int)strcspn(dir, ":");

		snprintf(path, sizeof(path), "%.*s/%s", n, dir, program);
		if (!access(path, X_OK))
			return true;
		dir += n + (dir[n] == ':');
	}
	return false;
}

/* The folder of this command, with a slash. */
static void own_folder(char *ret, size_t room)
{
	ssize_t n = readlink("/proc/self/exe", ret, room - 1);
	char *slash;

	ret[n < 0 ? 0 : n] = '\0';
	slash = strrchr(ret, '/');
	if (slash)
		slash[1] = '\0';
}

/* The last file that a place stands for, in the order of names. */
static bool find(const char *place, char ret[PATH_MAX])
{
	char pattern[2 * PATH_MAX] = "";
	glob_t found;
	bool ok;

	if (*place != '/')
		own_folder(pattern, PATH_MAX);
	strncat(pattern, place, PATH_MAX - 1);
	if (glob(pattern, 0, NULL, &found))
		return false;
	place = found.gl_pathv[found.gl_pathc - 1];
	ok = strlen(place) < PATH_MAX && !access(place, R_OK);
	if (ok)
		memcpy(ret, place, strlen(place) + 1);
	globfree(&found);
	return ok;
}

static bool find_first(const char *const *places, size_t n, char *ret)
{
	for (size_t i = 0; i < n; i++)
		if (find(places[i], ret))
			return true;
	return false;
}

#define FIND_FIRST(places, ret)                                                \
	find_first(places, sizeof(places) / sizeof((places)[0]), ret)

static int find_kernel(const struct bench_opts *opts, char ret[PATH_MAX])
{
	if (!opts->kernel && !FIND_FIRST(kernel_places, ret))
		return bench_fail(TF_EXIT_HOST,
				  "no readable guest kernel in build-guest/ "
				  "or /boot; give --kernel");
	if (!opts->kernel)
		return TF_EXIT_OK;
	if (access(opts->kernel, R_OK) || strlen(opts->kernel) >= PATH_MAX)
		return bench_fail(TF_EXIT_USAGE, "--kernel %s: cannot read it",
				  opts->kernel);
	memcpy(ret, opts->kernel, strlen(opts->kernel) + 1);
	return TF_EXIT_OK;
}

int qemu_host_find(const struct bench_opts *opts, struct qemu_host *ret)
{
	int code = find_kernel(opts, ret->kernel);

	if (code)
		return code;
	if (!in_path(QEMU_PROGRAM))
		return bench_fail(TF_EXIT_HOST,
				  QEMU_PROGRAM " is not installed");
	if (!FIND_FIRST(library_places, ret->library))
		return bench_fail(TF_EXIT_HOST, "libtwinfold-qemu.so is not "
						"beside this command");
	if (access("/dev/userfaultfd", R_OK | W_OK))
		return bench_fail(TF_EXIT_HOST,
				  "no access to /dev/userfaultfd");
	ret->mem_mib = opts->mem_mib;
	ret->initrd = qemu_initrd();
	if (ret->initrd < 0)
		return bench_fail(TF_EXIT_HOST, "cannot make an initramfs: %s",
				  strerror(-ret->initrd));
	return TF_EXIT_OK;
}
