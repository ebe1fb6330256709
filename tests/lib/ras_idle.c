/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looks at the table of requests, then has one answered of its own. */
#include "tests/lib/ras_idle.h"

#include <errno.h>
#include <unistd.h>

#include "ras/internal.h"

#define TRIES 5000
#define ROUNDS 10
#define OPTIONAL 5 /* BUS_MCEERR_AO */

static bool is_idle(const struct tf_ras *ras)
{
	for (unsigned i = 0; i < RAS_REQUESTS; i++)
		if (atomic_load(&ras->request[i].state) != REQUEST_FREE)
			return false;
	return true;
}

static bool wait_idle(const struct tf_ras *ras)
{
	bool idle = is_idle(ras);

	for (int i = 0; i < TRIES && !idle; i++) {
		usleep(1000);
		idle = is_idle(ras);
	}
	return idle;
}

/* The healer's last callback is over when it answers somebody else. What was
 * only told of is always its to answer; it is not waited for long, though. */
static bool ask(struct tf_engine *e)
{
	struct tf_ras_verdict v = { .size = sizeof(v) };
	siginfo_t info = { .si_signo = SIGBUS, .si_code = OPTIONAL };
	int err;

	info.si_addr = &v;
	do
		err = tf_ras_handle(e, &info, &v);
	while (err == -EIO);
	return !err && v.cls == TF_RAS_NOT_OURS;
}

bool ras_wait_idle(struct tf_engine *e)
{
	const struct tf_ras *ras = atomic_load(&e->ras);

	if (!ras)
		return true;
	/* Until an answer in between has brought nothing new; where threads go
	 * on meeting errors there is no such moment. */
	for (int i = 0; i < ROUNDS; i++) {
		if (!wait_idle(ras) || !ask(e))
			return false;
		if (is_idle(ras))
			break;
	}
	return true;
}
