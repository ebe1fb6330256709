/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the guests of `twinfold demo` and `twinfold drill` run on this host. */
#ifndef TWINFOLD_AGENT_BACKEND_H
#define TWINFOLD_AGENT_BACKEND_H

#include "twinfold/vmm.h"

/*
 * KVM where it works, else threads; or what the environment variable says
 * ("kvm" or "thread"). Returns an exit code (enum tf_exit); what there is to
 * say is on stderr, behind "twinfold VERB".
 */
int backend_choose(const char *verb, const char *variable,
		   enum tf_backend *ret);

const char *backend_name(enum tf_backend backend);

#endif
