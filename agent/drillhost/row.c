/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See row.h. */
#include "agent/drillhost/row.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct field {
	const char *name;
	size_t at;
} numbers[] = {
	{ "faults", offsetof(struct row, faults) },
	{ "healed", offsetof(struct row, healed) },
	{ "vmces", offsetof(struct row, vmces) },
	{ "expected_vmces", offsetof(struct row, expected_vmces) },
	{ "unrecoverable", offsetof(struct row, unrecoverable) },
	{ "wrong_bytes", offsetof(struct row, wrong_bytes) },
	{ "lost_writes", offsetof(struct row, lost_writes) },
	{ "guest_checks", offsetof(struct row, guest_checks) },
	{ "guest_check_failures", offsetof(struct row, guest_check_failures) },
	{ "kernel_warnings", offsetof(struct row, kernel_warnings) },
};

static const struct field sources[] = {
	{ "fresh_copy", offsetof(struct row, by_source.fresh_copy) },
	{ "existing_dup", offsetof(struct row, by_source.existing_dup) },
	{ "zero", offsetof(struct row, by_source.zero) },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *row_configuration_name(enum row_configuration configuration)
{
	return configuration == ROW_TWINFOLD ? "twinfold" : "baseline";
}

void row_blame(struct row *row, const char *fmt, ...)
{
	va_list args;

	row->passed = false;
	if (*row->why)
		return;
	va_start(args, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is not */
	vsnprintf(row->why, sizeof(row->why), fmt, args);
	va_end(args);
}

/* ---- JSON ---- */

static void put_numbers(json_t *o, const struct row *row,
			const struct field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value;

		memcpy(&value, (const char *)row + fields[i].at, sizeof(value));
		json_object_set_new(o, fields[i].name,
				    json_integer((json_int_t)value));
	}
}

static void take_numbers(const json_t *o, const struct field *fields, size_t n,
			 struct row *row)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value = (uint64_t)json_integer_value(
			json_object_get(o, fields[i].name));

		memcpy((char *)row + fields[i].at, &value, sizeof(value));
	}
}

static json_t *heals_json(const struct row *row)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < row->nheals; i++)
		json_array_append_new(list, json_real(row->heal_us[i]));
	return list;
}

json_t *row_to_json(const struct row *row)
{
	json_t *by_source = json_object();
	json_t *o;

	put_numbers(by_source, row, sources, COUNT(sources));
	o = json_pack("{s:s,s:s,s:b,s:b,s:s,s:s,s:i,s:i,s:f,s:o,s:o}", "drill",
		      row->drill, "configuration",
		      row_configuration_name(row->configuration), "ran",
		      row->ran, "passed", row->passed, "outcome", row->outcome,
		      "why", row->why, "guests", (int)row->guests, "deaths",
		      (int)row->deaths, "seconds", row->seconds, "by_source",
		      by_source, "heal_us", heals_json(row));
	put_numbers(o, row, numbers, COUNT(numbers));
	return o;
}

static void take_heals(const json_t *list, struct row *row)
{
	size_t n = json_array_size(list);

	row->nheals = n < ROW_HEALS_MAX ? (unsigned)n : ROW_HEALS_MAX;
	for (unsigned i = 0; i < row->nheals; i++)
		row->heal_us[i] = json_number_value(json_array_get(list, i));
}

int row_from_json(const json_t *object, struct row *ret)
{
	const char *drill, *configuration, *outcome, *why;
	json_t *by_source, *heals;
	int ran, passed, guests, deaths;
	struct row row = { 0 };

	if (json_unpack((json_t *)object,
			"{s:s,s:s,s:b,s:b,s:s,s:s,s:i,s:i,s:F,s:o,s:o}",
			"drill", &drill, "configuration", &configuration, "ran",
			&ran, "passed", &passed, "outcome", &outcome, "why",
			&why, "guests", &guests, "deaths", &deaths, "seconds",
			&row.seconds, "by_source", &by_source, "heal_us",
			&heals))
		return -EPROTO;
	snprintf(row.drill, sizeof(row.drill), "%s", drill);
	snprintf(row.outcome, sizeof(row.outcome), "%s", outcome);
	snprintf(row.why, sizeof(row.why), "%s", why);
	row.configuration = strcmp(configuration, "twinfold") ? ROW_BASELINE :
								ROW_TWINFOLD;
	row.ran = ran;
	row.passed = passed;
	row.guests = (unsigned)guests;
	row.deaths = (unsigned)deaths;
	take_heals(heals, &row);
	take_numbers(by_source, sources, COUNT(sources), &row);
	take_numbers(object, numbers, COUNT(numbers), &row);
	*ret = row;
	return 0;
}

/* ---- sums ---- */

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int percentiles(const struct row *rows, size_t n, struct row_sums *ret)
{
	double *us = malloc((n * ROW_HEALS_MAX + 1) * sizeof(*us));
	size_t m = 0;

	if (!us)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		for (unsigned k = 0; k < rows[i].nheals; k++)
			if (rows[i].configuration == ROW_TWINFOLD)
				us[m++] = rows[i].heal_us[k];
	qsort(us, m, sizeof(*us), compare);
	ret->p50_us = m ? us[(m - 1) * 50 / 100] : 0;
	ret->p99_us = m ? us[(m - 1) * 99 / 100] : 0;
	free(us);
	return 0;
}

static void add(const struct row *row, struct row_sums *s)
{
	s->faults += row->faults;
	s->kernel_warnings += row->kernel_warnings;
	s->healed += row->healed;
	s->vmces += row->vmces;
	s->expected_vmces += row->expected_vmces;
	s->unrecoverable += row->unrecoverable;
	s->wrong_bytes += row->wrong_bytes;
	s->lost_writes += row->lost_writes;
	s->guest_checks += row->guest_checks;
	s->guest_check_failures += row->guest_check_failures;
	s->fresh_copy += row->by_source.fresh_copy;
	s->existing_dup += row->by_source.existing_dup;
	s->zero += row->by_source.zero;
}

int row_sum(const struct row *rows, size_t n, struct row_sums *ret)
{
	struct row_sums s = { 0 };
	int r = percentiles(rows, n, &s);

	if (r)
		return r;
	for (size_t i = 0; i < n; i++) {
		s.not_run += !rows[i].ran;
		s.failed += rows[i].ran && !rows[i].passed;
		if (rows[i].configuration == ROW_BASELINE) {
			s.baseline_deaths += rows[i].deaths;
			s.baseline_kernel_warnings += rows[i].kernel_warnings;
			continue;
		}
		add(&rows[i], &s);
	}
	*ret = s;
	return 0;
}
