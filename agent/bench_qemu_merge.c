/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Boots guests, lets one side merge them, and watches: CPU and time until
 * 99 % of the final sharing, memory, CPU afterwards. Nothing is merged
 * before all guests are up and idle. Guests are ended on every way out. No
 * locks.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/bench_qemu.h"
#include "agent/ksm.h"
#include "agent/meminfo.h"

#define BOOT_S 180
#define IDLE_S 3 /* a booted guest's last own work */
#define SAMPLE_NS (50 * 1000 * 1000)
#define REST_S 3 /* from settled to steady */
#define STABLE_SCANS 3
#define MAX_SAMPLES 6000 /* five minutes */

struct sample {
	double s, cpu_s, shared, sharing, scans;
};

struct watch {
	struct qemu_guest *guests;
	unsigned n;
	int library;
	uint64_t metadata; /* of the library before it merged */
	struct sample *samples;
	size_t nsamples;
};

static void sleep_s(double s)
{
	struct timespec t = { .tv_sec = (time_t)s,
			      .tv_nsec =
				      (long)((s - (double)(time_t)s) * 1e9) };

	nanosleep(&t, NULL);
}

/* Notes what the engines use for themselves, where the answer says so. */
static int command_all(struct watch *w, const char *command)
{
	for (unsigned i = 0; i < w->n; i++) {
		json_t *answer = qemu_ask(&w->guests[i], command);

		if (!answer)
			return TF_EXIT_FAILED;
		w->metadata += (uint64_t)bench_get(answer, "metadata_bytes");
		json_decref(answer);
	}
	return TF_EXIT_OK;
}

static int sample_library(struct watch *w, struct sample *ret)
{
	ret->scans = 1e18; /* the slowest guest's count */
	for (unsigned i = 0; i < w->n; i++) {
		json_t *st = qemu_ask(&w->guests[i], "stats");

		if (!st)
			return TF_EXIT_FAILED;
		ret->shared += bench_get(st, "pages_shared");
		ret->sharing += bench_get(st, "pages_sharing") +
				bench_get(st, "zero_pages");
		if (bench_get(st, "full_scans") < ret->scans)
			ret->scans = bench_get(st, "full_scans");
		json_decref(st);
		ret->cpu_s += (double)qemu_library_cpu_ns(&w->guests[i]) / 1e9;
	}
	return TF_EXIT_OK;
}

static int sample_ksm(struct sample *ret)
{
	struct ksm_counts c;
	uint64_t ns;

	if (ksm_counts(&c) || ksm_cpu_ns(&ns))
		return bench_fail(TF_EXIT_FAILED, "cannot read KSM's counters");
	ret->shared = (double)c.shared;
	ret->sharing = (double)(c.sharing + c.zero_pages);
	ret->scans = (double)c.full_scans;
	ret->cpu_s = (double)ns / 1e9;
	return TF_EXIT_OK;
}

static int take_sample(struct watch *w, struct sample *ret)
{
	*ret = (struct sample){ .s = (double)bench_now_ns() / 1e9 };
	return w->library == QEMU_WITH ? sample_library(w, ret) :
					 sample_ksm(ret);
}

static int boot(const struct qemu_host *host, struct watch *w)
{
	int code = TF_EXIT_OK;

	for (unsigned i = 0; !code && i < w->n; i++) {
		code = qemu_start(host, w->library, 0, &w->guests[i]);
		if (!code && w->library == QEMU_WITH) {
			json_t *answer = qemu_ask(&w->guests[i], "stop");

			code = answer ? TF_EXIT_OK : TF_EXIT_FAILED;
			json_decref(answer);
		}
	}
	for (unsigned i = 0; !code && i < w->n; i++) {
		char *line =
			qemu_wait_line(&w->guests[i], "guest: ready", BOOT_S);

		code = line ? TF_EXIT_OK : TF_EXIT_FAILED;
		free(line);
	}
	if (!code)
		sleep_s(IDLE_S);
	for (unsigned i = 0; !code && i < w->n; i++)
		code = qemu_note_pages(&w->guests[i], host->mem_mib);
	return code;
}

static int touch_all(const struct watch *w)
{
	int code = TF_EXIT_OK;

	for (unsigned i = 0; !code && i < w->n; i++)
		code = qemu_touch(&w->guests[i]);
	return code;
}

static int switch_side(struct watch *w, bool on)
{
	int err;

	if (w->library == QEMU_WITH)
		return command_all(w, on ? "start" : "stop");
	err = ksm_run(on);
	if (!err)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_FAILED, "cannot switch ksmd: %s",
			  strerror(-err));
}

/* Sharing has not grown for some scans. */
static bool settled(const struct watch *w)
{
	const struct sample *last = &w->samples[w->nsamples - 1];
	const struct sample *s = last;

	if (!last->sharing)
		return false;
	while (s > w->samples && s->sharing >= last->sharing * 0.998)
		s--;
	return last->scans > s->scans + STABLE_SCANS && last->s - s->s > 2;
}

static int watch_until_settled(struct watch *w)
{
	int code = TF_EXIT_OK;

	do {
		code = take_sample(w, &w->samples[w->nsamples]);
		if (code)
			return code;
		w->nsamples++;
		if (settled(w))
			return TF_EXIT_OK;
		sleep_s(SAMPLE_NS / 1e9);
	} while (w->nsamples < MAX_SAMPLES);
	return bench_fail(TF_EXIT_FAILED, "sharing still grows after %g s",
			  w->samples[w->nsamples - 1].s - w->samples[0].s);
}

/* For good: after the last sample that was below. */
static void find_99(const struct watch *w, struct qemu_merged *ret)
{
	const struct sample *first = w->samples;
	const struct sample *last = &w->samples[w->nsamples - 1];
	const struct sample *s = last;

	while (s > first && s[-1].sharing >= last->sharing * 0.99)
		s--;
	ret->cpu_s = s->cpu_s - first->cpu_s;
	ret->wall_s = s->s - first->s;
}

static int watch_steady(struct watch *w, double seconds,
			struct qemu_merged *ret)
{
	struct sample from, to;
	int code;

	sleep_s(REST_S);
	code = take_sample(w, &from);
	sleep_s(seconds);
	code = code ? code : take_sample(w, &to);
	if (code)
		return code;
	ret->steady_cpu_s = (to.cpu_s - from.cpu_s) / (to.s - from.s);
	ret->scans = to.scans - from.scans;
	ret->scan_cpu_s = (to.cpu_s - from.cpu_s) / ret->scans;
	ret->shared = to.shared;
	ret->sharing = to.sharing;
	return TF_EXIT_OK;
}

/* What the host has left, with everything in place that a guest touches. */
static int read_memory(const struct watch *w, struct meminfo *ret)
{
	int code = touch_all(w);

	if (code || !meminfo_settled(ret))
		return code;
	return bench_fail(TF_EXIT_HOST, "cannot read /proc/meminfo");
}

static int merge(struct watch *w, struct qemu_merged *ret)
{
	struct meminfo before = { 0 }, after = { 0 };
	int code = TF_EXIT_OK;

	if (w->library == QEMU_WITH)
		code = command_all(w, "stats");
	code = code ? code : read_memory(w, &before);
	code = code ? code : take_sample(w, &w->samples[w->nsamples++]);
	code = code ? code : switch_side(w, true);
	code = code ? code : watch_until_settled(w);
	code = code ? code : switch_side(w, false);
	code = code ? code : read_memory(w, &after);
	if (code)
		return code;
	find_99(w, ret);
	ret->saved_bytes = (double)(after.free_bytes - before.free_bytes) -
			   (double)w->metadata;
	return TF_EXIT_OK;
}

static int measure(const struct bench_opts *opts, struct watch *w,
		   struct qemu_merged *ret)
{
	int code = merge(w, ret);

	code = code ? code : switch_side(w, true);
	code = code ? code : watch_steady(w, opts->seconds, ret);
	return code ? code : switch_side(w, false);
}

int qemu_merge(const struct bench_opts *opts, const struct qemu_host *host,
	       int library, unsigned n, struct qemu_merged *ret)
{
	struct watch w = { .n = n, .library = library };
	int code = TF_EXIT_FAILED;

	fprintf(stderr, "bench qemu: %u guest%s, %s\n", n, n > 1 ? "s" : "",
		library == QEMU_WITH ? "twinfold" : "KSM");
	w.guests = calloc(n, sizeof(*w.guests));
	w.samples = calloc(MAX_SAMPLES, sizeof(*w.samples));
	if (w.guests && w.samples)
		code = boot(host, &w);
	else
		bench_fail(code, "out of memory");
	code = code ? code : measure(opts, &w, ret);
	for (unsigned i = 0; w.guests && i < n; i++)
		qemu_stop(&w.guests[i]);
	free(w.guests);
	free(w.samples);
	return code;
}
