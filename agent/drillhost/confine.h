/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AppArmor in a drill host, as libvirt confines a QEMU: libvirt's own
 * abstraction, what its helper would add for this guest, and the lines of
 * configs/apparmor/. Errors are negative errno. No locks.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_CONFINE_H
#define TWINFOLD_AGENT_DRILLHOST_CONFINE_H

#include <stdbool.h>

/* Where those lines allow the library, and its socket, to be. */
#define CONFINE_LIBRARY "/usr/local/lib/libtwinfold-qemu.so"
#define CONFINE_CTL "/run/twinfold/drill/ctl"

enum confine {
	CONFINE_NOT,
	CONFINE_WITH_LINES,
	/* Only those without which the library is not loaded, or mute. */
	CONFINE_WITHOUT_LINES
};

/* Is there all that it takes? */
bool confine_possible(void);

/* Load the profile, in enforce mode, and lay the library where it belongs. */
int confine_load(enum confine how, const char *library);

/* The next program of this process runs confined. */
int confine_next(void);

#endif
