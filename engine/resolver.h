/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The resolver: the thread that answers faults. A guest's write to a shared
 * frame, a touch of a stray hole in an armed block.
 */
#ifndef TF_ENGINE_RESOLVER_H
#define TF_ENGINE_RESOLVER_H

struct tf_engine;

int tf_resolver_start(struct tf_engine *e);
void tf_resolver_stop(struct tf_engine *e);

struct uffd_msg;

/* The page that a fault message is about. */
char *tf_fault_page(const struct uffd_msg *m);

/*
 * Fill the hole at `addr`, if it is one that nobody else is to fill. Caller
 * holds the lock.
 */
void tf_resolver_plug(struct tf_engine *e, char *addr);

#endif
