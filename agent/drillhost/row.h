/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The result of one drill in one configuration: one row of the matrix. It is
 * plain memory, so that a process can fill it and another still read what it
 * says after that process was killed.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_ROW_H
#define TWINFOLD_AGENT_DRILLHOST_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define ROW_HEALS_MAX 512

enum row_configuration {
	ROW_TWINFOLD,
	ROW_BASELINE, /* the same without twinfold, with the kernel's KSM */
};

struct row {
	char drill[48];
	enum row_configuration configuration;
	bool ran;          /* false: `why` says what is missing */
	bool passed;       /* a baseline that could be seen has always */
	char outcome[160]; /* of the guests, for people */
	char why[240];     /* what is not as it has to be; "": nothing */
	unsigned guests;
	unsigned deaths; /* guests that did not survive */
	uint64_t faults, healed, vmces, expected_vmces, unrecoverable;
	uint64_t wrong_bytes, lost_writes, guest_checks, guest_check_failures;
	struct {
		uint64_t fresh_copy, existing_dup, zero;
	} by_source;
	uint64_t kernel_warnings; /* lines in the log of its host meanwhile */
	double seconds;
	unsigned nheals;
	double heal_us[ROW_HEALS_MAX]; /* the first ones */
};

const char *row_configuration_name(enum row_configuration configuration);

/* The first message counts; a row with one has not passed. */
__attribute__((format(printf, 2, 3))) void row_blame(struct row *row,
						     const char *fmt, ...);

/* The caller owns it. NULL: want of memory. */
json_t *row_to_json(const struct row *row);

/* EPROTO: it is no row. */
int row_from_json(const json_t *object, struct row *ret);

/* ---- a whole matrix ---- */

struct row_sums {
	uint64_t faults, healed, vmces, expected_vmces, unrecoverable;
	uint64_t wrong_bytes, lost_writes, guest_checks, guest_check_failures;
	uint64_t kernel_warnings;
	uint64_t baseline_deaths, baseline_kernel_warnings, failed, not_run;
	uint64_t fresh_copy, existing_dup, zero;
	double p50_us, p99_us;
};

/* All but failed, not_run and what is called so is of rows with twinfold.
 * ENOMEM. */
int row_sum(const struct row *rows, size_t n, struct row_sums *ret);

#endif
