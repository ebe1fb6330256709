/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a drill host is made of: its kernel, that kernel's modules, and an
 * initramfs with the few modules that lead to this machine's file system. No
 * state, no locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cpio.h"
#include "agent/drillhost/host.h"
#include "agent/places.h"
#include "agent/verbs.h"

#define QEMU_PROGRAM "qemu-system-x86_64"

extern const unsigned char drill_init_start[], drill_init_end[];

static const char *const kernel_places[] = {
	"../build-drill/boot/vmlinuz-*",
};

static const char *const qemu_places[] = {
	"../build-qemu10/usr/bin/" QEMU_PROGRAM,
};

/* In the order in which they need each other. One that the kernel's package
 * does not have may be built in; what that breaks is seen when it boots. */
#define COMMON_MODULES                                                         \
	"netfs", "9pnet", "9pnet_virtio", "9p", "hwpoison-inject", "irqbypass"

static const char *const modules_of[][16] = {
	[HOST_AMD] = { COMMON_MODULES, "ccp", "kvm", "kvm-amd", "vfio",
		       "vfio_iommu_type1", "vfio-pci-core", "vfio-pci" },
	[HOST_INTEL] = { COMMON_MODULES },
};

/* ---- the initramfs ---- */

static bool is_module(const char *file, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(file, name, n) && !strncmp(file + n, ".ko", 3);
}

static bool find_module(const char *folder, const char *name,
			char ret[PATH_MAX])
{
	char *const roots[] = { (char *)folder, NULL };
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR,
			     NULL);
	const FTSENT *entry;
	bool found = false;

	while (tree && !found && (entry = fts_read(tree)))
		if (entry->fts_info == FTS_F &&
		    is_module(entry->fts_name, name))
			found = snprintf(ret, PATH_MAX, "%s", entry->fts_path) <
				PATH_MAX;
	if (tree)
		fts_close(tree);
	return found;
}

static int put_file(FILE *out, const char *path, const char *name)
{
	struct cpio_member m = { .name = name, .mode = S_IFREG | 0644 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *bytes;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !st.st_size) {
		close(fd);
		return -EIO;
	}
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return -errno;
	m.bytes = bytes;
	m.size = (size_t)st.st_size;
	cpio_put(out, &m);
	munmap(bytes, m.size);
	return 0;
}

static int put_modules(FILE *out, const char *folder, enum host_vendor vendor)
{
	const char *const *names = modules_of[vendor];
	int r = 0;

	cpio_put(out, &(struct cpio_member){ .name = "root",
					     .mode = S_IFDIR | 0755 });
	cpio_put(out, &(struct cpio_member){ .name = "modules",
					     .mode = S_IFDIR | 0755 });
	for (unsigned i = 0; names[i] && !r; i++) {
		char path[PATH_MAX], name[PATH_MAX];

		if (!find_module(folder, names[i], path))
			continue;
		snprintf(name, sizeof(name), "modules/%02u-%s", i,
			 strrchr(path, '/') + 1);
		r = put_file(out, path, name);
	}
	return r;
}

int host_initrd(const char *modules, enum host_vendor vendor)
{
	int fd = memfd_create("initrd", 0), r;
	FILE *out = fd < 0 ? NULL : fdopen(dup(fd), "w");

	if (!out)
		return -errno;
	cpio_put_init(out, drill_init_start,
		      (size_t)(drill_init_end - drill_init_start));
	r = put_modules(out, modules, vendor);
	cpio_end(out);
	if (fclose(out) && !r)
		r = -EIO;
	if (!r)
		return fd;
	close(fd);
	return r;
}

/* ---- finding ---- */

static int no_kernel(void)
{
	return host_fail(
		TF_EXIT_HOST,
		"--backend mce: this host lacks a kernel for the drill host: "
		"run './dev setup', or give --kernel and --modules");
}

/* Of an unpacked package: boot/vmlinuz-VERSION, and lib/modules/ or
 * usr/lib/modules/. */
static int find_unpacked(struct host_image *image)
{
	char *slash;

	if (!places_find(kernel_places, 1, image->kernel))
		return no_kernel();
	memcpy(image->modules, image->kernel, PATH_MAX);
	slash = strstr(image->modules, "/boot/vmlinuz-");
	if (slash)
		*slash = '\0';
	return TF_EXIT_OK;
}

static int take_named(const char *kernel, const char *modules,
		      struct host_image *image)
{
	if (!kernel || !modules)
		return host_fail(TF_EXIT_USAGE,
				 "--kernel and --modules go together: the "
				 "modules are those of the kernel");
	if (access(kernel, R_OK) || !realpath(kernel, image->kernel))
		return host_fail(TF_EXIT_USAGE, "--kernel %s: cannot read it",
				 kernel);
	if (access(modules, R_OK | X_OK) || !realpath(modules, image->modules))
		return host_fail(TF_EXIT_USAGE, "--modules %s: cannot read it",
				 modules);
	return TF_EXIT_OK;
}

/* The folder that a package of QEMU was unpacked into. */
static void find_qemu(struct host_image *image)
{
	char program[PATH_MAX];
	char *end;

	if (!places_find(qemu_places, 1, program) ||
	    !realpath(program, image->qemu))
		return;
	end = strstr(image->qemu, "/usr/bin/" QEMU_PROGRAM);
	if (end)
		*end = '\0';
}

static int make_initrds(struct host_image *image)
{
	for (int v = HOST_AMD; v <= HOST_INTEL; v++) {
		image->initrd[v] =
			host_initrd(image->modules, (enum host_vendor)v);
		if (image->initrd[v] < 0)
			return host_fail(TF_EXIT_HOST,
					 "cannot make an initramfs: %s",
					 strerror(-image->initrd[v]));
	}
	return TF_EXIT_OK;
}

int host_image_find(const char *kernel, const char *modules,
		    struct host_image *ret)
{
	char folder[PATH_MAX];
	int code;

	*ret = (struct host_image){ .initrd = { -1, -1 } };
	places_own_folder(folder);
	if (!realpath(folder, ret->build))
		return host_fail(TF_EXIT_HOST, "cannot find this command: %s",
				 strerror(errno));
	if (kernel || modules)
		code = take_named(kernel, modules, ret);
	else
		code = find_unpacked(ret);
	if (code)
		return code;
	find_qemu(ret);
	if (!*ret->qemu && !places_in_path(QEMU_PROGRAM))
		return host_fail(
			TF_EXIT_HOST,
			"--backend mce: this host lacks " QEMU_PROGRAM);
	return make_initrds(ret);
}

void host_image_fini(struct host_image *image)
{
	for (int v = HOST_AMD; v <= HOST_INTEL; v++)
		if (image->initrd[v] > 0)
			close(image->initrd[v]);
}
