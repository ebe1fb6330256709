/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `twinfold drill --backend mce`: a choice of drills, each in both
 * configurations, in as few boots as their hosts allow, and what is printed of
 * them. One thread.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_MATRIX_H
#define TWINFOLD_AGENT_DRILLHOST_MATRIX_H

#include "agent/drillhost/case.h"

#define MATRIX_DRILLS_MAX 64
#define MATRIX_BOOTS_MAX (2 * MATRIX_DRILLS_MAX)

struct matrix_opts {
	const struct drill_case *only[MATRIX_DRILLS_MAX]; /* none: all */
	unsigned nonly;
	const char *kernel, *modules; /* NULL: those beside the build */
	const char *logs; /* folder for the hosts' logs, made if need be */
	uint64_t seed;
	bool json;
};

struct matrix {
	const struct matrix_opts *opts;
	struct host_image image;
	struct host host;
	struct row rows[2 * MATRIX_DRILLS_MAX];
	unsigned nrows;
	unsigned boots;
	uint64_t kernel_warnings;
	char first_warning[160];
	json_t *hosts; /* by name of the boot: what each said of itself */
};

/* All of it; returns an exit code. */
int matrix_run(const struct matrix_opts *opts);

/* What there is: name, host, needs. */
void matrix_list(void);

/* report.c */
void matrix_print_host(const char *name, const json_t *hello);
void matrix_print_table(const struct matrix *m);
int matrix_print_json(const struct matrix *m);

#endif
