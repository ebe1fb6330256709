/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The invariants of docs/invariants.md, executable. Costly; for tests and for
 * whoever hunts a bug with a debugger.
 */
#ifndef TF_ENGINE_CHECK_H
#define TF_ENGINE_CHECK_H

#include <stddef.h>

struct tf_engine;

/*
 * Check every table against every other, and what is mapped against what the
 * tables say. 0, or -EUCLEAN with the first violation in `why`. Takes the
 * engine's lock; guests may run meanwhile.
 */
int tf_engine_check(struct tf_engine *e, char *why, size_t len);

#endif
