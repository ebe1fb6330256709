/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looks at the table of requests, then has one answered of its own. */
#include "tests/lib/ras_idle.h"

#include <unistd.h>

#include "ras/internal.h"

#define TRIES 5000
#define REQUIRED 4

static bool is_idle(const struct tf_ras *ras)
{
	for (unsigned i = 0; i < RAS_REQUESTS; i++)
		if (atomic_load(&ras->request[i].state) != REQUEST_FREE)
			return false;
	return true;
}

static bool wait_idle(const struct tf_ras *ras)
{
	for (int i = 0; i < TRIES && !is_idle(ras); i++)
		usleep(1000);
	return is_idle(ras);
}

/* The healer's last answer is over when it answers somebody else. */
static bool ask(struct tf_engine *e)
{
	struct tf_ras_verdict v = { .size = sizeof(v) };
	siginfo_t info = { .si_signo = SIGBUS, .si_code = REQUIRED };

	info.si_addr = &v;
	return !tf_ras_handle(e, &info, &v) && v.cls == TF_RAS_NOT_OURS;
}

bool ras_wait_idle(struct tf_engine *e)
{
	const struct tf_ras *ras = atomic_load(&e->ras);

	if (!ras)
		return true;
	/* Until an answer in between has brought nothing new. */
	do {
		if (!wait_idle(ras) || !ask(e))
			return false;
	} while (!is_idle(ras));
	return true;
}
