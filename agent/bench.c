/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verb `bench`: parse, run, print. The cases are in bench_CASE.c; what
 * they share is described in bench.h.
 */
#include "agent/bench.h"

int tf_verb_bench(int argc, char **argv)
{
	struct bench_opts opts;
	json_t *result = NULL;
	int code;

	bench_parse(argc, argv, &opts);
	code = bench_run(&opts, &result);
	if (!code)
		code = bench_print(&opts, result);
	json_decref(result);
	return code;
}
