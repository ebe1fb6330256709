/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Background scanning. */
#ifndef TF_ENGINE_WORKER_H
#define TF_ENGINE_WORKER_H

struct tf_engine;

int tf_worker_start(struct tf_engine *e);
int tf_worker_stop(struct tf_engine *e);

#endif
