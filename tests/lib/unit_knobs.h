/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settings of the whole host, for tests that change them: by agent/knob.h, as
 * `twinfold bench` does it and under its lock, so that they are put back
 * however the test ends. For the setup and teardown of a group.
 */
#ifndef TF_TESTS_LIB_UNIT_KNOBS_H
#define TF_TESTS_LIB_UNIT_KNOBS_H

/* Never fails: see unit_knobs_taken(). Another program that changes them is
 * waited for. */
int unit_knobs_take(void **state);
int unit_knobs_give_back(void **state);

/* 0, or why not, a negative errno. */
int unit_knobs_taken(void);

#endif
