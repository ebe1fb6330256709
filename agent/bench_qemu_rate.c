/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's own throughput with the library and without, in pairs of runs
 * that follow each other; every second pair the other way round. Reports
 * medians of the pairs' ratios. No state, no locks.
 */
#include <stdlib.h>

#include "agent/bench_qemu.h"

#define BOOT_S 180

struct rates {
	double write_mb, reads;
};

static int measure(const struct bench_opts *opts, const struct qemu_host *host,
		   int library, struct rates *ret)
{
	struct qemu_guest guest;
	char *line = NULL;
	int code = qemu_start(host, library, opts->seconds, &guest);

	if (!code) {
		line = qemu_wait_line(&guest, "guest: rates ",
				      BOOT_S + 4 * opts->seconds);
		if (!line ||
		    sscanf(line, "%lf %lf end", &ret->write_mb, &ret->reads) !=
			    2 ||
		    ret->write_mb <= 0 || ret->reads <= 0)
			code = bench_fail(TF_EXIT_FAILED,
					  "a guest could not measure");
	}
	free(line);
	qemu_stop(&guest);
	return code;
}

static int measure_pair(const struct bench_opts *opts,
			const struct qemu_host *host, unsigned i,
			struct rates ret[2])
{
	int first = i % 2 ? QEMU_WITHOUT : QEMU_WITH;
	int code = measure(opts, host, first, &ret[first]);

	code = code ? code : measure(opts, host, !first, &ret[!first]);
	if (!code)
		fprintf(stderr,
			"bench qemu: pair %u: writes %.0f and %.0f MB/s, "
			"reads %.0f and %.0f a second\n",
			i + 1, ret[QEMU_WITH].write_mb,
			ret[QEMU_WITHOUT].write_mb, ret[QEMU_WITH].reads,
			ret[QEMU_WITHOUT].reads);
	return code;
}

int qemu_rates(const struct bench_opts *opts, const struct qemu_host *host,
	       json_t *out)
{
	double *writes = calloc(opts->pairs, sizeof(*writes));
	double *reads = calloc(opts->pairs, sizeof(*reads));
	int code = writes && reads ? TF_EXIT_OK : TF_EXIT_FAILED;
	struct rates pair[2] = { 0 };

	for (unsigned i = 0; !code && i < opts->pairs; i++) {
		code = measure_pair(opts, host, i, pair);
		if (code)
			break;
		writes[i] =
			pair[QEMU_WITH].write_mb / pair[QEMU_WITHOUT].write_mb;
		reads[i] = pair[QEMU_WITH].reads / pair[QEMU_WITHOUT].reads;
	}
	if (!code) {
		bench_set_real(out, "guest_write_ratio",
			       bench_median(writes, opts->pairs));
		bench_set_real(out, "guest_read_ratio",
			       bench_median(reads, opts->pairs));
	}
	free(writes);
	free(reads);
	return code;
}
