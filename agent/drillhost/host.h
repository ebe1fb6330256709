/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A drill host: a QEMU that runs, by TCG, a kernel with memory failure
 * handling on this machine's own file system, so that real machine checks can
 * be raised in it from outside. The command runs inside as well
 * (`twinfold drill --inside`) and speaks over a channel.
 *
 * No file of a drill host has a name, and the kernel kills QEMU when the process that
 * started it ends, however that ends. One thread.
 *
 * Functions that return int return an exit code (enum tf_exit) and have said
 * why on stderr when it is not TF_EXIT_OK, unless they say otherwise.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_HOST_H
#define TWINFOLD_AGENT_DRILLHOST_HOST_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "agent/drillhost/channel.h"

enum host_vendor {
	HOST_AMD,   /* with nested KVM */
	HOST_INTEL, /* without */
};

/* What machine it is. */
struct host_profile {
	enum host_vendor vendor;
	unsigned cpus;
	unsigned nodes;   /* NUMA nodes, 1 or 2 */
	unsigned mem_mib; /* 0: 1024 */
	bool spare; /* an IOMMU, and a PCI device for a guest (assign.h) */
};

/* What it is made of. */
struct host_image {
	char kernel[PATH_MAX];  /* of Linux guests inside as well */
	char modules[PATH_MAX]; /* folder that has them somewhere below */
	char build[PATH_MAX];   /* folder of this command */
	char qemu[PATH_MAX];    /* an unpacked newer QEMU, or "" */
	int initrd[2];          /* by vendor: a memfd */
};

struct host {
	struct host_profile profile;
	pid_t pid; /* 0: does not run */
	int log;   /* a memfd: what the console has said */
	int gdb;   /* the stub */
	int qmp_fd, inside_fd;
	struct channel qmp;
	struct channel inside;
};

/*
 * Find the parts. `kernel` and `modules` NULL: those that were unpacked beside
 * the build (build-drill/). TF_EXIT_HOST: something is missing; TF_EXIT_USAGE: a
 * file that was named.
 */
int host_image_find(const char *kernel, const char *modules,
		    struct host_image *ret);
void host_image_fini(struct host_image *image);

/* image.c: an initramfs for that vendor. A memfd, or a negative errno. */
int host_initrd(const char *modules, enum host_vendor vendor);

/* Boot it, until the command inside says hello; the caller owns that.
 * TF_EXIT_FAILED: it did not come up, perhaps because this machine is busy. */
int host_start(const struct host_image *image,
	       const struct host_profile *profile, struct host *host,
	       json_t **hello);

/* Kill it. The log stays until host_fini(). Stopping twice is fine. */
void host_stop(struct host *host);
void host_fini(struct host *host);

/* All of the log so far; the caller frees it. NULL: want of memory. */
char *host_log(const struct host *host);

const char *host_vendor_name(enum host_vendor vendor);

/* "twinfold drill: " and the message, on stderr; returns `code`. */
__attribute__((format(printf, 2, 3))) int host_fail(int code, const char *fmt,
						    ...);

#endif
