/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See backend.h. */
#include "agent/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/verbs.h"

const char *backend_name(enum tf_backend backend)
{
	return backend == TF_BACKEND_KVM ? "kvm" : "thread";
}

/* 0, or what is wrong with KVM here as a negative errno. */
static int try_kvm(void)
{
	struct tf_vm *vm = NULL;
	int r = tf_vm_create(NULL, &vm);

	tf_vm_destroy(vm);
	return r;
}

int backend_choose(const char *verb, const char *variable, enum tf_backend *ret)
{
	const char *wish = getenv(variable);
	int r;

	if (wish && strcmp(wish, "kvm") && strcmp(wish, "thread")) {
		fprintf(stderr,
			"twinfold %s: %s is '%s'; it must be kvm or thread\n",
			verb, variable, wish);
		return TF_EXIT_USAGE;
	}
	*ret = TF_BACKEND_THREAD;
	if (wish && !strcmp(wish, "thread"))
		return TF_EXIT_OK;
	r = try_kvm();
	if (!r) {
		*ret = TF_BACKEND_KVM;
		return TF_EXIT_OK;
	}
	fprintf(stderr, "twinfold %s: /dev/kvm cannot be used (%s)%s\n", verb,
		strerror(-r), wish ? "" : ": threads take the place of guests");
	return wish ? TF_EXIT_HOST : TF_EXIT_OK;
}
