/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel tells nobody that all future mappings are locked; a mapping made
 * for that purpose shows it. Owns engine->locked, written under pass_lock.
 */
#include "engine/locked.h"

#include <errno.h>
#include <sys/mman.h>

#include "engine/state.h"

#define REFRESH_NS UINT64_C(100000000)

bool tf_future_is_locked(const struct tf_engine *e)
{
	const struct tf_os *os = e->os;
	uint64_t entry = 0;
	long at = os->map(os, NULL, TF_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at < 0) /* EAGAIN: more would be locked than may be */
		return at == -EAGAIN;
	os->pagemap_read(os, e->pagemap, (void *)at, &entry, 1);
	os->unmap(os, (void *)at, TF_PAGE);
	return entry & TF_PM_PRESENT;
}

bool tf_locked_look(struct tf_engine *e)
{
	bool was = atomic_load(&e->locked), is = tf_future_is_locked(e);

	atomic_store(&e->locked, is);
	e->locked_ns = e->os->now_ns(e->os);
	if (is && !was)
		tf_log(&e->log, TF_LOG_WARNING,
		       "nothing is merged while mlockall(MCL_FUTURE) is in "
		       "force, which undoes sharing at once; use munlockall()");
	else if (was && !is)
		tf_log(&e->log, TF_LOG_INFO,
		       "mlockall(MCL_FUTURE) is not in force any more: merging "
		       "goes on");
	return is;
}

void tf_locked_refresh(struct tf_engine *e)
{
	if (e->os->now_ns(e->os) - e->locked_ns >= REFRESH_NS)
		tf_locked_look(e);
}
