/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds what a bench guest is made of, before anything is started: QEMU, a
 * kernel, the library beside this command. No state, no locks.
 */
#include <string.h>
#include <unistd.h>

#include "agent/bench_qemu.h"
#include "agent/places.h"

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

#define FIND_FIRST(places, ret)                                                \
	places_find(places, sizeof(places) / sizeof((places)[0]), ret)

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
	if (!places_in_path(QEMU_PROGRAM))
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
