/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creation and end of an engine: options, contexts, threads, and the order in
 * which they come and go.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/batch.h"
#include "engine/chain.h"
#include "engine/fence.h"
#include "engine/forks.h"
#include "engine/marker.h"
#include "engine/nodes.h"
#include "engine/opts.h"
#include "engine/pass.h"
#include "engine/resolver.h"
#include "engine/state.h"
#include "engine/store.h"
#include "engine/worker.h"

/* Frame references have 32 bits, 9 of them for the page in a block. */
#define MAX_BLOCKS (1u << (32 - TF_BLOCK_SHIFT))
#define MAX_DUPS (1u << 28)
#define MAX_SHARING 4096u

_Static_assert(TF_DUP_SPANS + 2 * MAX_SHARING <= 1u << 14,
	       "a dup can count its spans");

void tf_engine_opts_init(struct tf_engine_opts *opts)
{
	*opts = (struct tf_engine_opts){
		.size = sizeof(*opts),
		.max_page_sharing = 256,
		.use_zero_pages = 1,
		.smart_scan = 1,
		.merge_across_nodes = 1,
		.min_copies = 1,
		.bridge_gaps = 1,
	};
}

static int bad_opt(const struct tf_logger *log, const char *what,
		   const char *range)
{
	tf_log(log, TF_LOG_ERR, "option %s is out of range: give %s", what,
	       range);
	return -EINVAL;
}

static int opts_take(struct tf_engine *e, const struct tf_engine_opts *given)
{
	struct tf_engine_opts *o = &e->opts;
	int err;

	tf_engine_opts_init(o);
	err = tf_opts_copy(o, sizeof(*o), given);
	if (err)
		return err;
	e->log = (struct tf_logger){ .fn = o->log, .user = o->log_user };
	if (!o->max_page_sharing)
		o->max_page_sharing = 256;
	if (!o->min_copies)
		o->min_copies = 1;
	if (!o->copy_sharers)
		o->copy_sharers = 8;
	if (o->max_page_sharing < 2 || o->max_page_sharing > MAX_SHARING)
		return bad_opt(&e->log, "max_page_sharing", "2 to 4096");
	if (o->min_copies > 2)
		return bad_opt(&e->log, "min_copies", "1 or 2");
	if ((unsigned)o->scan_mode > TF_SCAN_HASH)
		return bad_opt(&e->log, "scan_mode", "a TF_SCAN_ value");
	if ((unsigned)o->scatter > TF_SCATTER_KSM)
		return bad_opt(&e->log, "scatter", "a TF_SCATTER_ value");
	if ((unsigned)o->unrecoverable_policy > TF_POLICY_ABORT)
		return bad_opt(&e->log, "unrecoverable_policy",
			       "a TF_POLICY_ value");
	return 0;
}

/* Which scan mode? PAGEMAP_SCAN over nothing tells whether it is there. */
static int choose_scan(struct tf_engine *e)
{
	struct tf_scan probe = { .start = (uintptr_t)e->zero_page,
				 .end = (uintptr_t)e->zero_page };
	bool have = e->os->pagemap_scan(e->os, e->pagemap, &probe) >= 0;

	if (!have && e->opts.scan_mode == TF_SCAN_DIRTY) {
		tf_log(&e->log, TF_LOG_ERR,
		       "scan_mode DIRTY needs PAGEMAP_SCAN (Linux 6.7); use "
		       "AUTO");
		return -EOPNOTSUPP;
	}
	if (!have && e->opts.scan_mode == TF_SCAN_AUTO)
		tf_log(&e->log, TF_LOG_WARNING,
		       "PAGEMAP_SCAN is missing or forbidden: every page is "
		       "hashed on every pass");
	e->scan_dirty = have && e->opts.scan_mode != TF_SCAN_HASH;
	tf_log(&e->log, TF_LOG_INFO, "scan mode: %s",
	       e->scan_dirty ? "written-since tracking" :
			       "hash every page on every pass");
	return 0;
}

static bool is_scarcity(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM;
}

/* Error: none, for want of a right that is named in the log. */
static int open_pagemap(struct tf_engine *e)
{
	int fd = e->os->pagemap_open(e->os);

	if (fd >= 0)
		e->pagemap = fd;
	else if (!is_scarcity(fd))
		tf_log(&e->log, TF_LOG_WARNING,
		       "nothing will be merged: /proc/self/pagemap cannot be "
		       "read (error %d)",
		       -fd);
	return is_scarcity(fd) ? fd : 0;
}

static int open_uffds(struct tf_engine *e)
{
	const struct tf_os *os = e->os;
	int err;

	e->uffd_guest = os->uffd_open(os, TF_UFFD_GUEST);
	if (e->uffd_guest >= 0)
		e->uffd_merged = os->uffd_open(os, TF_UFFD_MERGED);
	if (e->uffd_merged >= 0)
		e->uffd_ours = os->uffd_open(os, TF_UFFD_OURS);
	err = e->uffd_guest < 0  ? e->uffd_guest :
	      e->uffd_merged < 0 ? e->uffd_merged :
	      e->uffd_ours < 0   ? e->uffd_ours :
				   0;
	if (err && !is_scarcity(err))
		tf_log(&e->log, TF_LOG_WARNING,
		       "nothing will be merged: %s (error %d)",
		       err == -EOPNOTSUPP ?
			       "this kernel lacks UFFDIO_MOVE (Linux 6.8)" :
			       "no right to handle faults of the kernel; grant "
			       "access to /dev/userfaultfd",
		       -err);
	return is_scarcity(err) ? err : 0;
}

/*
 * The kernel's side of merging. What it cannot do is no error: memslots are
 * accepted, nothing is merged.
 */
static int open_kernel(struct tf_engine *e)
{
	int err = open_pagemap(e);

	if (!err)
		err = open_uffds(e);
	if (err || e->pagemap < 0 || e->uffd_ours < 0)
		return err;
	e->can_merge = true;
	tf_nodes_init(e);
	tf_marker_learn(e);
	err = choose_scan(e);
	if (!err)
		err = tf_fence_init(e);
	if (!err)
		err = tf_forks_init(e);
	return err ? err : tf_gather_init(e);
}

static int map_zero_page(struct tf_engine *e)
{
	long at = e->os->map(e->os, NULL, TF_PAGE, PROT_READ,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at < 0)
		return (int)at;
	e->zero_page = (const char *)at;
	return 0;
}

static int tables_init(struct tf_engine *e)
{
	e->batch = calloc(1, sizeof(*e->batch));
	if (!e->batch)
		return -ENOMEM;
	e->batch->engine = e;
	if (tf_idtable_init(&e->blocks, sizeof(struct tf_block *), MAX_BLOCKS))
		return -ENOMEM;
	return tf_idtable_init(&e->dups, sizeof(struct tf_dup), MAX_DUPS);
}

static int engine_init(struct tf_engine *e)
{
	int err = tables_init(e);

	if (!err)
		err = map_zero_page(e);
	if (!err)
		err = open_kernel(e);
	if (!err) {
		e->worker.wake = e->os->eventfd(e->os);
		err = e->worker.wake < 0 ? e->worker.wake : 0;
	}
	if (!err && e->can_merge)
		err = tf_resolver_start(e);
	return err;
}

/* It knows who holds it: a signal handler may ask (ras/quick.c). */
static void lock_init(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

int tf_engine_create_os(const struct tf_engine_opts *opts,
			const struct tf_os *os, struct tf_engine **ret)
{
	struct tf_engine *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->os = os;
	e->uffd_guest = e->uffd_merged = e->uffd_ours = e->pagemap = -1;
	e->worker.wake = e->resolver.quit = -1;
	e->forks.uffd = e->forks.quit = -1;
	e->gather.uffd = e->gather.quit = -1;
	tf_list_init(&e->guests);
	tf_list_init(&e->stores);
	lock_init(&e->lock);
	pthread_mutex_init(&e->pass_lock, NULL);
	pthread_mutex_init(&e->forks.lock, NULL);
	pthread_cond_init(&e->left, NULL);
	err = opts_take(e, opts);
	if (!err)
		err = engine_init(e);
	if (err) {
		tf_engine_destroy(e);
		return err;
	}
	*ret = e;
	return 0;
}

int tf_engine_create(const struct tf_engine_opts *opts, struct tf_engine **ret)
{
	return tf_engine_create_os(opts, &tf_os_linux, ret);
}

static void close_fd(const struct tf_engine *e, int fd)
{
	if (fd >= 0)
		e->os->close(e->os, fd);
}

/*
 * The contexts let go of guest memory first: every waiting fault goes on,
 * protected frames become plain copy-on-write mappings, armed blocks plain
 * memory. Nothing here looks at a guest's bytes.
 */
void tf_engine_destroy(struct tf_engine *e)
{
	if (!e)
		return;
	tf_worker_stop(e);
	if (e->ras_end)
		e->ras_end(e);
	tf_resolver_stop(e);
	while (!tf_list_empty(&e->guests))
		tf_guest_abandon(
			tf_container_of(e->guests.next, struct tf_guest, link));
	close_fd(e, e->uffd_merged);
	close_fd(e, e->uffd_guest);
	close_fd(e, e->uffd_ours);
	tf_forks_fini(e);
	tf_gather_fini(e);
	tf_fence_fini(e);
	close_fd(e, e->pagemap);
	close_fd(e, e->worker.wake);
	if (e->zero_page)
		e->os->unmap(e->os, (void *)e->zero_page, TF_PAGE);
	tf_idtable_fini(&e->blocks);
	tf_idtable_fini(&e->dups);
	pthread_cond_destroy(&e->left);
	pthread_mutex_destroy(&e->forks.lock);
	pthread_mutex_destroy(&e->pass_lock);
	pthread_mutex_destroy(&e->lock);
	free(e->regions);
	free(e->list_at_hand);
	free(e->batch);
	free(e);
}

int tf_engine_pass(struct tf_engine *e, struct tf_pass *ret)
{
	struct tf_pass out = { 0 };
	int err = tf_pass_run(e, false, &out);

	if (err || !ret)
		return err;
	out.size = sizeof(out);
	return tf_opts_export(ret, &out, sizeof(out));
}

int tf_engine_cancel(struct tf_engine *e)
{
	atomic_fetch_add(&e->cancels, 1);
	pthread_mutex_lock(&e->pass_lock);
	atomic_fetch_sub(&e->cancels, 1);
	pthread_mutex_unlock(&e->pass_lock);
	return 0;
}

int tf_engine_start(struct tf_engine *e)
{
	return tf_worker_start(e);
}

int tf_engine_stop(struct tf_engine *e)
{
	return tf_worker_stop(e);
}
