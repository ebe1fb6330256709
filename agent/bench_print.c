/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A result for people: single values first, then one row per figure with
 * both sides. Knows nothing of the cases. No state, no locks.
 */
#include <stdio.h>
#include <string.h>

#include "agent/bench.h"

static void print_value(const json_t *value, int width)
{
	char text[64] = "-";

	if (json_is_integer(value))
		snprintf(text, sizeof(text), "%lld",
			 (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(text, sizeof(text), "%.4g", json_real_value(value));
	else if (json_is_string(value))
		snprintf(text, sizeof(text), "%s", json_string_value(value));
	printf("%*s", width, text);
}

static void print_single_values(const json_t *result)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)result, key, value) {
		if (json_is_object(value) || json_is_array(value))
			continue;
		printf("%-34s", key);
		print_value(value, 16);
		putchar('\n');
	}
}

static void print_sides(const json_t *twinfold, const json_t *ksm)
{
	const char *key;
	json_t *value;

	printf("\n%-34s%16s", "", "twinfold");
	printf(ksm ? "%16s\n" : "\n", "ksm");
	json_object_foreach((json_t *)twinfold, key, value) {
		printf("%-34s", key);
		print_value(value, 16);
		if (ksm)
			print_value(json_object_get(ksm, key), 16);
		putchar('\n');
	}
}

/* Where the figures of twinfold stand at the top, KSM's have their names. */
static void print_ksm_alone(const json_t *ksm)
{
	const char *key;
	json_t *value;

	printf("\n%-34s%16s\n", "", "ksm");
	json_object_foreach((json_t *)ksm, key, value) {
		printf("%-34s", key);
		print_value(value, 16);
		putchar('\n');
	}
}

static int print_json(const json_t *result)
{
	if (json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)))
		return -1;
	return putchar('\n') == EOF;
}

int bench_print(const struct bench_opts *opts, const json_t *result)
{
	const json_t *twinfold = json_object_get(result, "twinfold");
	const json_t *ksm = json_object_get(result, "ksm");
	int bad = 0;

	if (opts->json) {
		bad = print_json(result);
	} else {
		print_single_values(result);
		if (twinfold)
			print_sides(twinfold, ksm);
		else if (ksm)
			print_ksm_alone(ksm);
	}
	if (fflush(stdout) || bad)
		return bench_fail(TF_EXIT_FAILED, "cannot write to stdout");
	return TF_EXIT_OK;
}
