/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Formats a log line and hands it to the embedder's callback. Never prints. */
#ifndef TF_BASE_LOG_H
#define TF_BASE_LOG_H

#include "twinfold/log.h"

struct tf_logger {
	tf_log_fn *fn; /* NULL: silent */
	void *user;
};

void tf_log(const struct tf_logger *logger, enum tf_log_level level,
	    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
