/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting until healing has nothing left to do. */
#ifndef TF_TESTS_RAS_IDLE_H
#define TF_TESTS_RAS_IDLE_H

#include <stdbool.h>

struct tf_engine;

/*
 * Wait until every request is answered, the healer's callbacks are over, and
 * what it found meanwhile is healed as well. True at once if the engine has
 * no healing; false after five seconds.
 */
bool ras_wait_idle(struct tf_engine *e);

#endif
