/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One pass over every guest. */
#ifndef TF_ENGINE_PASS_H
#define TF_ENGINE_PASS_H

#include <stdbool.h>

#include "twinfold/engine.h"

/* `background`: stop at the worker's wish. */
int tf_pass_run(struct tf_engine *e, bool background, struct tf_pass *ret);

#endif
