/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `twinfold drill` shows: the table, the JSON object. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "agent/backend.h"
#include "agent/drill.h"

struct sums {
	uint64_t checks, failures, wrong_bytes, lost_writes, writes;
};

static struct sums sums_of(const struct drill *d)
{
	struct sums s = { 0 };

	for (unsigned n = 0; n < DRILL_GUESTS; n++) {
		s.checks += d->report[n].checks;
		s.failures += d->report[n].failures;
		s.wrong_bytes += d->report[n].wrong_bytes;
		s.lost_writes += d->report[n].lost_writes;
		s.writes += d->report[n].writes;
	}
	return s;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* `percent` of the heals took no longer. */
static double heal_us(struct drill *d, unsigned percent)
{
	double us = 0;

	pthread_mutex_lock(&d->lock);
	qsort(d->heal_us, d->nheals, sizeof(*d->heal_us), compare);
	if (d->nheals)
		us = d->heal_us[(d->nheals - 1) * percent / 100];
	pthread_mutex_unlock(&d->lock);
	return us;
}

static void print_bad(const struct drill *d)
{
	for (unsigned n = 0; n < DRILL_GUESTS; n++)
		for (unsigned i = 0;
		     i < TF_WORK_BAD_MAX && i < d->report[n].failures; i++)
			printf("guest %u: wrong bytes from gpa 0x%" PRIx64
			       " on\n",
			       n + 1, d->report[n].bad_gpa[i]);
}

static void print_engine(const struct drill *d)
{
	printf("its own memory lost:     policy degrade: %s\n"
	       "                         policy abort:   %s\n",
	       d->degraded ? "merging stopped, the guests went on" :
			     "NOT as it has to be",
	       d->aborted ? "the process died by SIGBUS" :
			    "NOT as it has to be");
}

void drill_print_table(struct drill *d)
{
	const struct faults *f = &d->faults;
	struct sums s = sums_of(d);

	printf("\n%d guests of %d MiB (%s), backend %s, seed %" PRIu64 "\n\n",
	       DRILL_GUESTS, DRILL_MEM_MIB, backend_name(d->opts.guests),
	       d->opts.backend->name, d->opts.seed);
	printf("pages lost:              %zu: %" PRIu64
	       " shared by all guests, "
	       "%" PRIu64 " by %d pages of one,\n                         "
	       "%" PRIu64 " zero, %" PRIu64 " unique\n",
	       f->n, f->by_kind[TF_WORK_COMMON], f->by_kind[TF_WORK_TWIN],
	       TF_WORK_TWINS, f->by_kind[TF_WORK_ZERO],
	       f->by_kind[TF_WORK_UNIQUE]);
	printf("healed:                  %" PRIu64
	       ", p50 %.0f us, p99 %.0f us\n",
	       d->healed, heal_us(d, 50), heal_us(d, 99));
	printf("machine checks:          %" PRIu64 ", expected %" PRIu64 ", "
	       "at other addresses %" PRIu64 "\n",
	       f->vmces, f->expected, f->strays);
	printf("guests gone without it:  %" PRIu64 "\n", d->baseline_deaths);
	printf("meanwhile:               %" PRIu64 " writes, %" PRIu64
	       " breaks, %" PRIu64 " pages un-merged, %" PRIu64 " passes\n",
	       s.writes, d->end.breaks, d->churn.unmerges, d->end.full_scans);
	print_engine(d);
	printf("warnings of the kernel:  %" PRIu64 "%s\n", d->kernel_warnings,
	       d->kmsg < 0 ? " (its log cannot be read)" : "");
	printf("checks:                  %" PRIu64 ", %" PRIu64 " failed, "
	       "%" PRIu64 " wrong bytes, %" PRIu64 " lost writes, %.1f s\n",
	       s.checks, s.failures, s.wrong_bytes, s.lost_writes, d->seconds);
	print_bad(d);
}

/* Want of memory shows when the object is written. */
static void put(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *sources_json(const struct drill *d)
{
	json_t *o = json_object();

	put(o, "fresh_copy", d->stats.heals_fresh_copy);
	put(o, "existing_dup", d->stats.heals_existing_dup);
	put(o, "zero", d->stats.heals_other);
	return o;
}

static json_t *kinds_json(const struct drill *d)
{
	const uint64_t *kind = d->faults.by_kind;
	json_t *o = json_object();

	put(o, "common", kind[TF_WORK_COMMON]);
	put(o, "twin", kind[TF_WORK_TWIN]);
	put(o, "zero", kind[TF_WORK_ZERO]);
	put(o, "unique", kind[TF_WORK_UNIQUE]);
	return o;
}

static void put_checks(json_t *o, const struct drill *d)
{
	struct sums s = sums_of(d);

	put(o, "wrong_bytes", s.wrong_bytes);
	put(o, "lost_writes", s.lost_writes);
	put(o, "guest_checks", s.checks);
	put(o, "guest_check_failures", s.failures);
	put(o, "guest_writes", s.writes);
}

static void put_engine(json_t *o, const struct drill *d)
{
	put(o, "breaks", d->end.breaks);
	put(o, "unmerges", d->churn.unmerges);
	put(o, "unrecoverable", d->end.unrecoverable);
	json_object_set_new(o, "engine_degraded", json_boolean(d->degraded));
	json_object_set_new(o, "engine_aborted", json_boolean(d->aborted));
	put(o, "kernel_warnings", d->kernel_warnings);
	json_object_set_new(o, "kernel_log_read", json_boolean(d->kmsg >= 0));
}

int drill_print_json(struct drill *d)
{
	json_t *o = json_object();
	int r;

	json_object_set_new(o, "backend", json_string(d->opts.backend->name));
	put(o, "seed", d->opts.seed);
	put(o, "guests", DRILL_GUESTS);
	json_object_set_new(o, "guests_run_as",
			    json_string(backend_name(d->opts.guests)));
	put(o, "faults", d->faults.n);
	json_object_set_new(o, "by_kind", kinds_json(d));
	put(o, "healed", d->healed);
	json_object_set_new(o, "by_source", sources_json(d));
	put(o, "vmces", d->faults.vmces);
	put(o, "expected_vmces", d->faults.expected);
	put(o, "baseline_deaths", d->baseline_deaths);
	put_checks(o, d);
	put_engine(o, d);
	json_object_set_new(o, "p50_us", json_real(heal_us(d, 50)));
	json_object_set_new(o, "p99_us", json_real(heal_us(d, 99)));
	json_object_set_new(o, "seconds", json_real(d->seconds));
	r = json_dumpf(o, stdout, JSON_REAL_PRECISION(6));
	json_decref(o);
	return r || putchar('\n') == EOF || fflush(stdout) ? -EIO : 0;
}
