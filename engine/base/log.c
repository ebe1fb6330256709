/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Formats one log line on the stack; a longer one is cut. Never allocates. */
#include "engine/base/log.h"

#include <stdarg.h>
#include <stdio.h>

void tf_log(const struct tf_logger *logger, enum tf_log_level level,
	    const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!logger->fn)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	logger->fn(logger->user, level, line);
}
