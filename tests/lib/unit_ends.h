/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two ends of a channel of the drill host (agent/drillhost/channel.h), in one
 * process: ours is what is tested, the other one is the test's.
 */
#ifndef TF_TESTS_LIB_UNIT_ENDS_H
#define TF_TESTS_LIB_UNIT_ENDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/drillhost/channel.h"

struct ends {
	int fd[2]; /* -1: closed */
	struct channel ours, other;
};

/* The setup and teardown of a case; its state is a struct ends. */
int ends_open(void **state);
int ends_close(void **state);

#define ENDS_CASE(f) cmocka_unit_test_setup_teardown(f, ends_open, ends_close)

/* What the other one says. */
void ends_say(const struct ends *e, const char *text);
void ends_hang_up(struct ends *e);

/* The next object that comes over `ch` has this word there. */
void ends_expect(struct channel *ch, const char *key, const char *word);

#endif
