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

#define KLOG_LINE 160
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

static void went_silent(struct row *row, const char *why)
{
	row->ran = true;
	row_blame(row, "the drill host went silent: %s", why);
	snprintf(row->outcome, sizeof(row->outcome),
		 "the drill host itself is gone");
}

/* What the kernel said of itself since the log had `from` bytes. */
static void count_warnings(const struct matrix *m, size_t from, struct row *row)
{
	char first[KLOG_LINE];
	char *log = host_log(&m->host);
	size_t used = strlen(row->outcome);

	if (!log)
		return;
	row->kernel_warnings = klog_warnings(log + from, first, sizeof(first));
	free(log);
	if (!row->kernel_warnings)
		return;
	if (row->configuration == ROW_TWINFOLD)
		row_blame(row, "in the kernel's log: %s", first);
	else
		snprintf(row->outcome + used, sizeof(row->outcome) - used,
			 "%shost's kernel: %s", used ? "; " : "", first);
}

static size_t log_size(const struct matrix *m)
{
	char *log = host_log(&m->host);
	size_t n = log ? strlen(log) : 0;

	free(log);
	return n;
}

/* Drill number `i`. An error: this host is of no more use. */
static int run_cell(struct matrix *m, unsigned i,
		    enum row_configuration configuration)
{
	const struct drill_case *drill = m->drills[i];
	struct row *row = &m->rows[2 * i + configuration];
	size_t from = log_size(m);
	int r = channel_send(&m->host.inside,
			     json_pack("{s:s,s:s,s:I}", "run", drill->name,
				       "configuration",
				       row_configuration_name(configuration),
				       "seed", (json_int_t)m->opts->seed));

	if (!r)
		r = wait_row(m, drill->seconds + MARGIN_S, row);
	row->configuration = configuration;
	snprintf(row->drill, sizeof(row->drill), "%s", drill->name);
	if (r)
		went_silent(row, strerror(-r));
	count_warnings(m, from, row);
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
	char *log;

	host_stop(&m->host);
	log = host_log(&m->host);
	if (log)
		save_log(m, name, log);
	free(log);
	host_fini(&m->host);
	m->boots++;
}

/* Once more where it failed: the kernel patches its own code as it boots, and an
 * emulator with several threads can execute what was there before ("Oops: int3").
 * Its log is kept. */
static int boot(struct matrix *m, const struct drill_case *drill,
		const char *name, json_t **hello)
{
	char failed[KLOG_LINE];
	int code = host_start(&m->image, &drill->host, &m->host, hello);

	if (code != TF_EXIT_FAILED)
		return code;
	snprintf(failed, sizeof(failed), "%s-failed", name);
	end_boot(m, failed);
	host_fail(0, "it is booted once more");
	return host_start(&m->image, &drill->host, &m->host, hello);
}

static int begin_boot(struct matrix *m, const struct drill_case *drill,
		      const char *name)
{
	json_t *hello = NULL, *caps;
	int code = boot(m, drill, name, &hello);

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
	       a->host.mem_mib == b->host.mem_mib &&
	       a->host.spare == b->host.spare;
}

/* All that is alike drill number `first`, with twinfold. */
static int run_twinfold(struct matrix *m, unsigned first)
{
	const struct drill_case *drill = m->drills[first];
	int code = begin_boot(m, drill, drill->name), r = 0;

	for (unsigned i = first; !code && i < m->n && !r; i++) {
		if (m->done[i] ||
		    (i != first && !same_host(drill, m->drills[i])))
			continue;
		m->done[i] = true;
		r = run_cell(m, i, ROW_TWINFOLD);
	}
	end_boot(m, drill->name);
	return code;
}

static int run_baseline(struct matrix *m, unsigned i)
{
	char name[KLOG_LINE];
	int code;

	snprintf(name, sizeof(name), "%s-baseline", m->drills[i]->name);
	code = begin_boot(m, m->drills[i], name);
	if (!code)
		run_cell(m, i, ROW_BASELINE);
	end_boot(m, name);
	return code;
}

/* ---- all of it ---- */

static void choose(struct matrix *m)
{
	const struct matrix_opts *opts = m->opts;

	for (; m->n < opts->nonly; m->n++)
		m->drills[m->n] = opts->only[m->n];
	if (m->n)
		return;
	for (; m->n < MATRIX_DRILLS_MAX && drill_cases[m->n]; m->n++)
		m->drills[m->n] = drill_cases[m->n];
}

/* Where there is no baseline there is no row. */
static void pack_rows(struct matrix *m)
{
	for (unsigned i = 0; i < 2 * m->n; i++)
		if (*m->rows[i].drill)
			m->rows[m->nrows++] = m->rows[i];
}

static int run_all(struct matrix *m)
{
	int code = TF_EXIT_OK;

	choose(m);
	for (unsigned i = 0; i < m->n && !code; i++)
		if (!m->done[i])
			code = run_twinfold(m, i);
	for (unsigned i = 0; i < m->n && !code; i++)
		if (m->drills[i]->baseline)
			code = run_baseline(m, i);
	pack_rows(m);
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
