/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu: idle Linux guests under stock QEMU. twinfold shares inside each guest
 * only; so KSM gets the guests one at a time (ksm, sums of the guests), and
 * then all together (ksm_across). No state, no locks.
 */
#include "agent/bench_qemu.h"
#include "agent/ksm.h"

static void put(json_t *out, const struct qemu_merged *m)
{
	bench_set_int(out, "net_saved_bytes", (int64_t)m->saved_bytes);
	bench_set_real(out, "cpu_s", m->cpu_s);
	bench_set_real(out, "steady_cpu_s", m->steady_cpu_s);
	bench_set_real(out, "wall_s", m->wall_s);
	bench_set_int(out, "shared", (int64_t)m->shared);
	bench_set_int(out, "sharing", (int64_t)m->sharing);
	bench_set_real(out, "scan_cpu_s", m->scan_cpu_s);
}

/* Work adds up; steady_cpu_s of one ksmd is a mean. */
static void add(struct qemu_merged *sum, const struct qemu_merged *m,
		unsigned guests)
{
	sum->saved_bytes += m->saved_bytes;
	sum->cpu_s += m->cpu_s;
	sum->wall_s += m->wall_s;
	sum->shared += m->shared;
	sum->sharing += m->sharing;
	sum->scan_cpu_s += m->scan_cpu_s;
	sum->steady_cpu_s += m->steady_cpu_s / guests;
}

static int clear(void)
{
	return ksm_clear() ? bench_fail(TF_EXIT_FAILED, "cannot clear KSM") :
			     TF_EXIT_OK;
}

static int measure_ksm(const struct bench_opts *opts,
		       const struct qemu_host *host, json_t *out)
{
	struct qemu_merged sum = { 0 }, m = { 0 };
	json_t *across = json_object();
	int code = TF_EXIT_OK;

	for (unsigned i = 0; !code && i < opts->guests; i++) {
		code = qemu_merge(opts, host, QEMU_WITHOUT, 1, &m);
		add(&sum, &m, opts->guests);
		code = code ? code : clear();
	}
	if (!code && opts->guests > 1)
		code = qemu_merge(opts, host, QEMU_WITHOUT, opts->guests, &m);
	put(out, &sum);
	put(across, &m);
	json_object_set_new(out, "across", across);
	return code;
}

static int measure(const struct bench_opts *opts, struct bench_side *side,
		   json_t *out)
{
	struct qemu_host host;
	struct qemu_merged m = { 0 };
	int code = qemu_host_find(opts, &host);

	if (code)
		return code;
	if (!side->cpu_is_ours)
		return measure_ksm(opts, &host, out);
	code = qemu_merge(opts, &host, QEMU_WITH, opts->guests, &m);
	put(out, &m);
	return code ? code : qemu_rates(opts, &host, out);
}

static void move(json_t *to, json_t *from, const char *key, const char *new_key)
{
	json_object_set(to, new_key, json_object_get(from, key));
	json_object_del(from, key);
}

static void join(const struct bench_opts *opts, json_t *top, json_t *twinfold,
		 json_t *ksm)
{
	bench_set_int(top, "guests", opts->guests);
	bench_set_int(top, "mem_mib", opts->mem_mib);
	bench_set_int(top, "pairs", opts->pairs);
	bench_set_real(top, "seconds", opts->seconds);
	json_object_set(top, "twinfold", twinfold);
	json_object_set(top, "ksm", ksm);
	move(top, ksm, "across", "ksm_across");
	move(top, twinfold, "guest_write_ratio", "guest_write_ratio");
	move(top, twinfold, "guest_read_ratio", "guest_read_ratio");
	bench_set_ratio(top, "ratio_saved",
			bench_get(twinfold, "net_saved_bytes"),
			bench_get(ksm, "net_saved_bytes"));
	bench_set_ratio(top, "ratio_cpu", bench_get(ksm, "cpu_s"),
			bench_get(twinfold, "cpu_s"));
	bench_set_ratio(top, "ratio_steady", bench_get(ksm, "steady_cpu_s"),
			bench_get(twinfold, "steady_cpu_s"));
}

const struct bench_case bench_qemu = {
	.name = "qemu",
	.summary = "idle Linux guests under stock QEMU, their throughput",
	.default_mib = 512,
	.has_ksm = true,
	.real_guests = true,
	.measure = measure,
	.join = join,
};
