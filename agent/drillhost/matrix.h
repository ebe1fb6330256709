/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `twinfold drill --backend mce`: a choice of drills, each in both
 * configurations, and what is printed of them. With twinfold, drills share a
 * boot where their hosts are alike. A baseline has a boot of its own: what it
 * leaves behind is not always a kernel that works. One thread.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_MATRIX_H
#define TWINFOLD_AGENT_DRILLHOST_MATRIX_H

#include "agent/drillhost/case.h"

#define MATRIX_DRILLS_MAX 64

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
	/* Those that were chosen, and then their rows, by configuration. */
	const struct drill_case *drills[MATRIX_DRILLS_MAX];
	bool done[MATRIX_DRILLS_MAX];
	unsigned n;
	struct row rows[2 * MATRIX_DRILLS_MAX];
	unsigned nrows;
	unsigned boots;
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
