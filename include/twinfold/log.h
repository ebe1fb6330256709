/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twinfold/log.h - where the library's messages go.
 *
 * The library never prints. It hands each message to the callback in
 * tf_engine_opts, one line without a newline: what happened, where, and what
 * to do about it.
 */
#ifndef TWINFOLD_LOG_H
#define TWINFOLD_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers are syslog's (RFC 5424, section 6.2.1). */
enum tf_log_level {
	TF_LOG_ERR = 3,
	TF_LOG_WARNING = 4,
	TF_LOG_NOTICE = 5,
	TF_LOG_INFO = 6,
	TF_LOG_DEBUG = 7,
};

/*
 * Called from any thread of the engine or of its callers, possibly several at
 * once, never from a signal handler. `line` is valid during the call. Must
 * not call back into the engine, touch guest memory, or wait for a lock that
 * somebody holds who does: the engine's own lock may be held.
 */
typedef void tf_log_fn(void *user, enum tf_log_level level, const char *line);

#ifdef __cplusplus
}
#endif
#endif
