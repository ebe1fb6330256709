/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See confine.h. */
#include "agent/drillhost/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/knob.h"
#include "agent/places.h"

#define NAME "drill-qemu"
#define PROFILE "/tmp/" NAME
#define PARSER "apparmor_parser"
#define LOAD "/sys/kernel/security/apparmor/.replace"
#define ABSTRACTION "/etc/apparmor.d/abstractions/libvirt-qemu"
#define OVER "/usr/local/lib"
#define LAYER "/tmp/" NAME "-lib"

extern const char apparmor_lines_start[], apparmor_lines_end[];

bool confine_possible(void)
{
	return !access(LOAD, W_OK) && !access(ABSTRACTION, R_OK) &&
	       places_in_path(PARSER);
}

/* ---- the profile ---- */

/* A drill host's programs run below a folder of the first file system. */
static const char head[] = "#include <tunables/global>\n"
			   "profile " NAME
			   " flags=(attach_disconnected, chroot_relative) {\n"
			   "  #include <abstractions/libvirt-qemu>\n"
			   "  /mnt/kernel r,\n"
			   "  /mnt/qemu/** rm,\n"
			   "  /memfd:** rw,\n"
			   "  unix,\n";

static bool is_needed_to_speak(const char *line, size_t n)
{
	return memmem(line, n, "libtwinfold", 11) ||
	       memmem(line, n, "/run/twinfold", 13);
}

static void put_lines(FILE *out, enum confine how)
{
	const char *at = apparmor_lines_start;

	while (at < apparmor_lines_end) {
		size_t left = (size_t)(apparmor_lines_end - at);
		const char *end = memchr(at, '\n', left);
		size_t n = end ? (size_t)(end - at) + 1 : left;

		if (how == CONFINE_WITH_LINES || is_needed_to_speak(at, n))
			fwrite(at, n, 1, out);
		at += n;
	}
}

static int write_profile(enum confine how)
{
	FILE *out = fopen(PROFILE, "we");

	if (!out)
		return -errno;
	fwrite(head, sizeof(head) - 1, 1, out);
	put_lines(out, how);
	fputs("}\n", out);
	return fclose(out) ? -EIO : 0;
}

static int load_profile(void)
{
	/* NOLINTNEXTLINE(cert-env33-c): our own words */
	int status = system(PARSER " --replace --skip-cache "
				   "-O no-expr-simplify " PROFILE);

	return status ? -EIO : 0;
}

/* ---- the library's place ---- */

/* The machine's files are read-only: a folder of our own lies over theirs. */
static int lay_library(const char *library)
{
	int fd;

	if (!access(CONFINE_LIBRARY, R_OK))
		return 0;
	mkdir(LAYER, 0755);
	fd = open(LAYER "/libtwinfold-qemu.so", O_WRONLY | O_CREAT | O_CLOEXEC,
		  0644);
	if (fd < 0)
		return -errno;
	close(fd);
	if (mount(LAYER, OVER, NULL, MS_BIND, NULL) ||
	    mount(library, CONFINE_LIBRARY, NULL, MS_BIND, NULL))
		return -errno;
	return 0;
}

int confine_load(enum confine how, const char *library)
{
	int r = write_profile(how);

	if (!r)
		r = load_profile();
	if (!r)
		r = lay_library(library);
	mkdir("/run/twinfold", 0755);
	mkdir("/run/twinfold/drill", 0755);
	return r;
}

int confine_next(void)
{
	return knob_write("/proc/thread-self/attr/apparmor/exec", "exec " NAME);
}
