/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `twinfold demo` shows: the progress line, the table, the JSON object.
 * Reads the run's figures, changes nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <jansson.h>

#include "agent/backend.h"
#include "agent/clock.h"
#include "agent/demo.h"

#define MIB 1048576.0

uint64_t demo_saved_bytes(const struct tf_stats *s)
{
	return (s->pages_sharing + s->zero_pages) * TF_PAGE_SIZE;
}

uint64_t demo_checks(const struct demo *d)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < d->opts.guests; n++)
		sum += d->guest[n].report.checks;
	return sum;
}

uint64_t demo_failures(const struct demo *d)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < d->opts.guests; n++)
		sum += d->guest[n].report.failures;
	return sum;
}

static uint64_t total_bytes(const struct demo *d)
{
	return ((uint64_t)d->opts.mem_mib << 20) * d->opts.guests;
}

/* On a terminal one line that changes, elsewhere a line a second. */
void demo_progress(const struct demo *d, const char *phase, bool last)
{
	struct tf_stats s = { .size = sizeof(s) };
	bool tty = isatty(STDOUT_FILENO);

	if (d->opts.json || tf_engine_stats(d->engine, &s))
		return;
	printf("%s%5.1f s  %-9s  checks %-8" PRIu64 " failed %-4" PRIu64
	       " shared %-6" PRIu64 " sharing %-6" PRIu64 " zero %-6" PRIu64
	       " saved %6.1f MiB%s",
	       tty ? "\r" : "", clock_s() - d->began, phase, demo_checks(d),
	       demo_failures(d), s.pages_shared, s.pages_sharing, s.zero_pages,
	       (double)demo_saved_bytes(&s) / MIB, tty && !last ? "" : "\n");
	fflush(stdout);
}

static void print_bad(const struct demo *d, unsigned n)
{
	const struct tf_work_report *r = &d->guest[n].report;

	for (unsigned i = 0; i < TF_WORK_BAD_MAX && i < r->failures; i++)
		printf("guest %u: wrong bytes from gpa 0x%" PRIx64 " on\n",
		       n + 1, r->bad_gpa[i]);
}

static void print_guests(const struct demo *d)
{
	printf("\n%-7s %8s %8s %8s %8s %8s %10s %8s\n", "guest", "pages",
	       "merged", "zero", "breaks", "written", "checks", "failed");
	for (unsigned n = 0; n < d->opts.guests; n++) {
		const struct demo_guest *g = &d->guest[n];

		printf("%-7u %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64
		       " %8" PRIu64 " %10" PRIu64 " %8" PRIu64 "\n",
		       n + 1, g->report.pages_ram, g->stats.pages_merged,
		       g->stats.zero_pages, g->stats.breaks, g->report.writes,
		       g->report.checks, g->report.failures);
	}
}

static void print_row(const char *name, double before, double after)
{
	printf("%-24s %8.1f %8.1f %8.1f MiB\n", name, before / MIB, after / MIB,
	       (before - after) / MIB);
}

static void print_faults(const struct demo *d)
{
	const struct faults *f = &d->faults;
	const uint64_t *kind = f->by_kind;

	printf("\nThen %zu pages were lost to memory errors: %" PRIu64
	       " that all guests share, %" PRIu64 " that\n%d pages of one "
	       "guest share, %" PRIu64 " zero pages, %" PRIu64
	       " unique ones. %" PRIu64
	       " healed, and no guest\nnoticed; %" PRIu64
	       " machine checks came for %" PRIu64 " pages that exist nowhere "
	       "else, %" PRIu64 " at\nother addresses.\n",
	       f->n, kind[TF_WORK_COMMON], kind[TF_WORK_TWIN], TF_WORK_TWINS,
	       kind[TF_WORK_ZERO], kind[TF_WORK_UNIQUE], d->healed, f->vmces,
	       f->expected, f->strays);
}

void demo_print_table(const struct demo *d)
{
	double total = (double)total_bytes(d);
	double saved = (double)demo_saved_bytes(&d->merged);

	printf("\n%u guests of %u MiB, backend %s\n\n%-24s %8s %8s %8s\n",
	       d->opts.guests, d->opts.mem_mib, backend_name(d->opts.backend),
	       "", "before", "after", "saved");
	print_row("guest memory (counted)", total, total - saved);
	print_row("this process (measured)", (double)d->bytes_before,
		  (double)d->bytes_after);
	printf("\ncounted:  %" PRIu64 " frames share a page with another frame "
	       "(%" PRIu64 " stable pages),\n          %" PRIu64 " frames are "
	       "the kernel's zero page; saved = frames x 4 KiB\n"
	       "measured: anonymous memory and memfds, the engine's own memory "
	       "included\n",
	       d->merged.pages_sharing, d->merged.pages_shared,
	       d->merged.zero_pages);
	print_guests(d);
	print_faults(d);
	printf("\nThen every guest wrote to all pages but the unique ones: %" PRIu64
	       " shared frames broken,\nand all pages were checked again. %" PRIu64
	       " checks, %" PRIu64 " failed, %.1f s\n",
	       d->end.breaks - d->merged.breaks, demo_checks(d),
	       demo_failures(d), d->seconds);
	for (unsigned n = 0; n < d->opts.guests; n++)
		print_bad(d, n);
}

/* Want of memory shows when the object is written. */
static void put(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *guest_json(const struct demo_guest *g)
{
	const struct tf_work_report *r = &g->report;
	json_t *o = json_object();

	put(o, "pages", r->pages_ram);
	put(o, "merged", g->stats.pages_merged);
	put(o, "zero_pages", g->stats.zero_pages);
	put(o, "writes", r->writes);
	put(o, "checks", r->checks);
	put(o, "failures", r->failures);
	put(o, "run_rounds", r->rounds[TF_WORK_RUN]);
	put(o, "overwrite_rounds", r->rounds[TF_WORK_OVERWRITE]);
	return o;
}

static json_t *guests_json(const struct demo *d)
{
	json_t *array = json_array();

	for (unsigned n = 0; n < d->opts.guests; n++)
		json_array_append_new(array, guest_json(&d->guest[n]));
	return array;
}

static json_t *run_json(const struct demo *d)
{
	const struct tf_stats *s = &d->merged;
	json_t *o = json_object();

	put(o, "guests", d->opts.guests);
	json_object_set_new(o, "backend",
			    json_string(backend_name(d->opts.backend)));
	put(o, "pages_total", total_bytes(d) / TF_PAGE_SIZE);
	put(o, "pages_shared", s->pages_shared);
	put(o, "pages_sharing", s->pages_sharing);
	put(o, "zero_pages", s->zero_pages);
	put(o, "saved_bytes", demo_saved_bytes(s));
	put(o, "guest_checks", demo_checks(d));
	put(o, "guest_check_failures", demo_failures(d));
	put(o, "faults_injected", d->faults.n);
	put(o, "healed", d->healed);
	put(o, "vmces", d->faults.vmces);
	put(o, "expected_vmces", d->faults.expected);
	json_object_set_new(o, "seconds", json_real(d->seconds));
	put(o, "breaks", d->end.breaks);
	put(o, "memory_before_bytes", d->bytes_before);
	put(o, "memory_after_bytes", d->bytes_after);
	json_object_set_new(o, "per_guest", guests_json(d));
	return o;
}

int demo_print_json(const struct demo *d)
{
	json_t *o = run_json(d);
	int r = json_dumpf(o, stdout, JSON_REAL_PRECISION(6));

	json_decref(o);
	return r || putchar('\n') == EOF || fflush(stdout) ? -EIO : 0;
}
