/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See matrix.h: boots hosts, hands them drills, keeps their logs, and gives the
 * verdict.
 */
#include "agent/drillhost/matrix.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "agent/drillhost/klog.h"
#include "agent/drillhost/lose.h"
#include "agent/verbs.h"

#define MARGIN_S 60.0 /* over what a drill itself may take */

/* ---- one drill in one configuration ---- */

/* Requests come until the row does. */
static int wait_row(struct matrix *m, double seconds, struct row *ret)
{
	json_t *message = NULL, *row;
	int r;

	for (;;) {
		r = channel_receive(&m->host.inside, seconds, &message);
		if (r)
			return r;
		row = json_object_get(message, "row");
		if (row)
			break;
		r = lose_serve(&m->host, message);
		json_decref(message);
		if (r)
			return r;
	}
	r = row_from_json(row, ret);
	json_decref(message);
	return r;
}

static int run_cell(struct matrix *m, const struct drill_case *drill,
		    enum row_configuration configuration)
{
	struct row *row = &m->rows[m->nrows++];
	int r = channel_send(&m->host.inside,
			     json_pack("{s:s,s:s,s:I}", "run", drill->name,
				       "configuration",
				       row_configuration_name(configuration),
				       "seed", (json_int_t)m->opts->seed));

	if (!r)
		r = wait_row(m, drill->seconds + MARGIN_S, row);
	if (!r)
		return 0;
	*row = (struct row){ .configuration = configuration };
	snprintf(row->drill, sizeof(row->drill), "%s", drill->name);
	row->ran = true;
	row_blame(row, "the drill host went silent: %s", strerror(-r));
	snprintf(row->outcome, sizeof(row->outcome),
		 "the drill host itself is gone");
	return r;
}

/* ---- one boot ---- */

static void save_log(const struct matrix *m, const char *name, const char *log)
{
	char path[PATH_MAX];
	FILE *out;

	if (!m->opts->logs)
		return;
	snprintf(path, sizeof(path), "%s/%s.log", m->opts->logs, name);
	out = fopen(path, "we");
	if (!out || fputs(log, out) == EOF)
		host_fail(0, "%s: %s", path, strerror(errno));
	if (out)
		fclose(out);
}

static void end_boot(struct matrix *m, const char *name)
{
	char first[sizeof(m->first_warning)];
	uint64_t found;
	char *log;

	host_stop(&m->host);
	log = host_log(&m->host);
	if (log) {
		found = klog_warnings(log, first, sizeof(first));
		if (found && !m->kernel_warnings)
			memcpy(m->first_warning, first, sizeof(first));
		m->kernel_warnings += found;
		save_log(m, name, log);
	}
	free(log);
	host_fini(&m->host);
	m->boots++;
}

static int begin_boot(struct matrix *m, const struct drill_case *drill,
		      const char *name)
{
	json_t *hello = NULL, *caps;
	int code = host_start(&m->image, &drill->host, &m->host, &hello);

	if (code)
		return code;
	caps = json_object_get(hello, "hello");
	json_object_set(m->hosts, name, caps);
	if (!m->opts->json)
		matrix_print_host(name, caps);
	json_decref(hello);
	return TF_EXIT_OK;
}

static bool same_host(const struct drill_case *a, const struct drill_case *b)
{
	return !a->own_boot && !b->own_boot &&
	       a->host.vendor == b->host.vendor &&
	       a->host.cpus == b->host.cpus && a->host.nodes == b->host.nodes &&
	       a->host.mem_mib == b->host.mem_mib;
}

/* Whatever of `drills` can follow the first of them, in both configurations;
 * those that were run are taken from the list. */
static int run_boot(struct matrix *m, const struct drill_case **drills,
		    unsigned n)
{
	const struct drill_case *first = drills[0];
	int code = begin_boot(m, first, first->name), r = 0;

	for (unsigned i = 0; !code && i < n && !r; i++) {
		const struct drill_case *one = drills[i];

		if (!one || (i && !same_host(first, one)))
			continue;
		drills[i] = NULL;
		r = run_cell(m, one, ROW_TWINFOLD);
		if (!r && one->baseline)
			r = run_cell(m, one, ROW_BASELINE);
	}
	end_boot(m, first->name);
	return code;
}

/* ---- all of it ---- */

static unsigned choose(const struct matrix_opts *opts,
		       const struct drill_case **ret)
{
	unsigned n = 0;

	if (opts->nonly) {
		memcpy(ret, opts->only, opts->nonly * sizeof(*ret));
		return opts->nonly;
	}
	while (n < MATRIX_DRILLS_MAX && drill_cases[n]) {
		ret[n] = drill_cases[n];
		n++;
	}
	return n;
}

static int run_all(struct matrix *m)
{
	const struct drill_case *drills[MATRIX_DRILLS_MAX] = { 0 };
	unsigned n = choose(m->opts, drills);
	int code = TF_EXIT_OK;

	for (unsigned i = 0; i < n && !code; i++)
		if (drills[i])
			code = run_boot(m, drills + i, n - i);
	return code;
}

static int print(const struct matrix *m)
{
	if (m->opts->json)
		return matrix_print_json(m) ? TF_EXIT_FAILED : TF_EXIT_OK;
	matrix_print_table(m);
	return TF_EXIT_OK;
}

static int verdict(const struct matrix *m)
{
	int code = TF_EXIT_OK;
	unsigned ran = 0;

	for (unsigned i = 0; i < m->nrows; i++) {
		const struct row *row = &m->rows[i];

		ran += row->ran && row->configuration == ROW_TWINFOLD;
		if (*row->why)
			host_fail(0, "%s, %s: %s", row->drill,
				  row_configuration_name(row->configuration),
				  row->why);
		if (row->ran && !row->passed)
			code = TF_EXIT_FAILED;
	}
	if (m->kernel_warnings)
		code = host_fail(TF_EXIT_FAILED,
				 "%" PRIu64 " warnings in the drill hosts' "
				 "logs, the first: %s",
				 m->kernel_warnings, m->first_warning);
	if (!code && !ran)
		code = host_fail(TF_EXIT_HOST, "no drill could be run");
	return code;
}

static int make_logs(const char *folder)
{
	if (!folder || !mkdir(folder, 0777) || errno == EEXIST)
		return TF_EXIT_OK;
	return host_fail(TF_EXIT_USAGE, "--logs %s: %s", folder,
			 strerror(errno));
}

int matrix_run(const struct matrix_opts *opts)
{
	struct matrix *m = calloc(1, sizeof(*m));
	int code = make_logs(opts->logs);

	if (!m)
		return host_fail(TF_EXIT_HOST, "no memory");
	m->opts = opts;
	m->hosts = json_object();
	if (!code)
		code = host_image_find(opts->kernel, opts->modules, &m->image);
	if (!code)
		code = run_all(m);
	if (!code)
		code = print(m);
	if (!code)
		code = verdict(m);
	host_image_fini(&m->image);
	json_decref(m->hosts);
	free(m);
	return code;
}
