/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `twinfold drill --backend mce` shows. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent/drillhost/matrix.h"

void matrix_list(void)
{
	char needs[256];

	for (size_t i = 0; drill_cases[i]; i++) {
		const struct drill_case *d = drill_cases[i];

		caps_list(d->needs | d->needs_baseline, needs, sizeof(needs));
		printf("%-22s %s\n%22s host: %s, %u CPUs, %u NUMA nodes\n"
		       "%22s needs: %s\n",
		       d->name, d->fault, "", host_vendor_name(d->host.vendor),
		       d->host.cpus, d->host.nodes, "", needs);
	}
	printf("\nWhat they need:\n");
	for (int i = 0; i < N_CAPS; i++)
		printf("  %-16s %s\n", caps_name((enum cap)i),
		       caps_about((enum cap)i));
}

void matrix_print_host(const char *name, const json_t *hello)
{
	uint32_t set =
		(uint32_t)json_integer_value(json_object_get(hello, "set"));
	char list[256];

	printf("drill host for %s: Linux %s, %s, %d CPUs\n", name,
	       channel_text(hello, "kernel"), channel_text(hello, "cpu"),
	       (int)json_integer_value(json_object_get(hello, "cpus")));
	caps_list(set, list, sizeof(list));
	printf("  has:   %s\n", list);
	caps_list(~set, list, sizeof(list));
	printf("  lacks: %s\n", list);
	fflush(stdout);
}

static void print_row(const struct row *row)
{
	const struct drill_case *drill = drill_case_find(row->drill);
	const char *mark = "";

	if (!row->ran)
		mark = "not run: ";
	else if (!row->passed)
		mark = "FAILED: ";
	printf("%-46s %-9s %s%s\n", drill ? drill->fault : row->drill,
	       row_configuration_name(row->configuration), mark,
	       *mark ? row->why : row->outcome);
}

void matrix_print_table(const struct matrix *m)
{
	struct row_sums s;

	printf("\n%-46s %-9s %s\n", "fault", "with", "outcome for the guests");
	for (unsigned i = 0; i < m->nrows; i++)
		print_row(&m->rows[i]);
	if (row_sum(m->rows, m->nrows, &s))
		return;
	printf("\n%" PRIu64 " faults with twinfold: %" PRIu64
	       " healed (p50 %.0f us, p99 %.0f us by emulation), %" PRIu64
	       " machine checks of guests, expected %" PRIu64 "\n"
	       "%" PRIu64 " checks of guests, %" PRIu64
	       " failed; guests that died in the baseline: %" PRIu64 "\n"
	       "warnings in kernels' logs: %" PRIu64
	       ", in the baseline %" PRIu64 "; %u boots, seed %" PRIu64 "\n",
	       s.faults, s.healed, s.p50_us, s.p99_us, s.vmces,
	       s.expected_vmces, s.guest_checks, s.guest_check_failures,
	       s.baseline_deaths, s.kernel_warnings, s.baseline_kernel_warnings,
	       m->boots, m->opts->seed);
}

/* Want of memory shows when the object is written. */
static void put(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *rows_json(const struct matrix *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->nrows; i++) {
		const struct drill_case *d = drill_case_find(m->rows[i].drill);
		json_t *row = row_to_json(&m->rows[i]);

		json_object_set_new(row, "fault",
				    json_string(d ? d->fault : ""));
		json_array_append_new(list, row);
	}
	return list;
}

static void put_sums(json_t *o, const struct row_sums *s)
{
	put(o, "faults", s->faults);
	put(o, "healed", s->healed);
	put(o, "vmces", s->vmces);
	put(o, "expected_vmces", s->expected_vmces);
	put(o, "unrecoverable", s->unrecoverable);
	put(o, "wrong_bytes", s->wrong_bytes);
	put(o, "lost_writes", s->lost_writes);
	put(o, "guest_checks", s->guest_checks);
	put(o, "guest_check_failures", s->guest_check_failures);
	put(o, "baseline_deaths", s->baseline_deaths);
	put(o, "kernel_warnings", s->kernel_warnings);
	put(o, "baseline_kernel_warnings", s->baseline_kernel_warnings);
	put(o, "failed", s->failed);
	put(o, "not_run", s->not_run);
	json_object_set_new(o, "by_source",
			    json_pack("{s:I,s:I,s:I}", "fresh_copy",
				      (json_int_t)s->fresh_copy, "existing_dup",
				      (json_int_t)s->existing_dup, "zero",
				      (json_int_t)s->zero));
	json_object_set_new(o, "p50_us", json_real(s->p50_us));
	json_object_set_new(o, "p99_us", json_real(s->p99_us));
}

int matrix_print_json(const struct matrix *m)
{
	json_t *o = json_object();
	struct row_sums s;
	int r = row_sum(m->rows, m->nrows, &s);

	if (r) {
		json_decref(o);
		return r;
	}
	json_object_set_new(o, "backend", json_string("mce"));
	put(o, "seed", m->opts->seed);
	put_sums(o, &s);
	put(o, "boots", m->boots);
	json_object_set(o, "hosts", m->hosts);
	json_object_set_new(o, "rows", rows_json(m));
	r = json_dumpf(o, stdout, JSON_REAL_PRECISION(6));
	json_decref(o);
	return r || putchar('\n') == EOF || fflush(stdout) ? -EIO : 0;
}
