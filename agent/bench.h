/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `twinfold bench`: what the parts share. A case measures one *side*
 * (twinfold, or KSM) over one *area* of memory, inside a forked child of its
 * own, and fills a JSON object; the parent puts the sides together. Both
 * sides get the same bytes in the same order and no huge pages.
 *
 * Functions return an exit code (enum tf_exit) and have said why on stderr
 * when it is not TF_EXIT_OK.
 */
#ifndef TWINFOLD_AGENT_BENCH_H
#define TWINFOLD_AGENT_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/verbs.h"

struct tf_engine;
struct tf_guest;

#define BENCH_PAGE 4096u
#define BENCH_WORDS (BENCH_PAGE / 8)

enum bench_shape {
	BENCH_SCATTERED, /* odd pages in groups of 8, even pages unique */
	BENCH_RUNS,      /* two equal halves */
	BENCH_ZERO,      /* odd pages zero, even pages unique */
	BENCH_UNIQUE,    /* no two pages equal */
};

struct bench_case;

struct bench_opts {
	const struct bench_case *cas;
	enum bench_shape shape;
	bool vs_ksm;
	bool json;
	bool sequential;  /* churn: rewrite in address order */
	bool scatter_ksm; /* hand to KSM what no mapping is left for */
	unsigned mem_mib; /* 0: the case's default */
	unsigned runs;
	unsigned rounds;        /* churn */
	unsigned passes;        /* steady: passes that are measured */
	unsigned tib;           /* sparse */
	unsigned writers;       /* fence */
	double seconds;         /* fence; qemu */
	double dirty;           /* steady: fraction of the unique pages */
	unsigned max_map_count; /* 0: raised so that it is no limit */
	unsigned guests;        /* qemu */
	unsigned pairs;         /* qemu: paired runs */
	const char *kernel;     /* qemu; NULL: look for one */
	unsigned seed;
};

/*
 * Memory with known contents. A page's bytes follow from its content id, the
 * id's generation and the seed, so that every page can be checked.
 */
struct bench_area {
	unsigned char *base;
	size_t pages;
	enum bench_shape shape;
	uint64_t seed;
	uint32_t *gen; /* by content id */
};

#define BENCH_ZERO_ID UINT32_MAX

struct bench_counts {
	uint64_t shared;  /* stable copies */
	uint64_t sharing; /* further pages that share them, zero pages too */
	uint64_t zero_pages;
};

/* One of the two that are compared. A pass of KSM is one full scan. */
struct bench_side {
	const char *name;
	int (*open)(struct bench_side *side, const struct bench_area *area);
	int (*pass)(struct bench_side *side);
	/* Nothing works between passes after this, until the next one. */
	int (*rest)(struct bench_side *side);
	int (*counts)(struct bench_side *side, struct bench_counts *ret);
	/* CPU time of everything that works for this side, in ns. */
	uint64_t (*cpu_ns)(void);
	/* Is the measuring process's own time part of cpu_ns? */
	bool cpu_is_ours;
	/* Engine memory in bytes, as the side itself reports it. */
	uint64_t (*metadata)(struct bench_side *side);
	bool is_open;
	struct tf_engine *engine;
	struct tf_guest *guest;
};

extern const struct bench_side bench_twinfold, bench_twinfold_ksm, bench_ksm;

struct bench_case {
	const char *name;
	const char *summary;
	unsigned default_mib;
	unsigned shapes; /* bit mask of enum bench_shape */
	bool has_ksm;
	bool raises_map_count;
	/* Linux guests, not an area: KSM always, zero pages merged. */
	bool real_guests;
	/* In the child: measure one side into `out`. */
	int (*measure)(const struct bench_opts *opts, struct bench_side *side,
		       json_t *out);
	/* In the parent: the sides' objects (ksm may be NULL) into `top`. */
	void (*join)(const struct bench_opts *opts, json_t *top,
		     json_t *twinfold, json_t *ksm);
};

extern const struct bench_case bench_converge, bench_steady, bench_churn,
	bench_sparse, bench_memory, bench_fence, bench_heal, bench_qemu;

/* bench_options.c */
extern const char *const bench_shape_names[];
void bench_parse(int argc, char **argv, struct bench_opts *opts);

/* bench_run.c: all runs of a case, the result in *ret. */
int bench_run(const struct bench_opts *opts, json_t **ret);

/* bench_print.c */
int bench_print(const struct bench_opts *opts, const json_t *result);

/* bench_area.c */
size_t bench_pages(unsigned mem_mib);
int bench_area_create(const struct bench_opts *opts, struct bench_area *area);
uint32_t bench_area_id(const struct bench_area *area, size_t page);
bool bench_area_is_twin(const struct bench_area *area, size_t page);
size_t bench_area_duplicates(const struct bench_area *area);
void bench_area_write(const struct bench_area *area, size_t page);
/* Read every page; how many are not as they should be. */
size_t bench_area_check(const struct bench_area *area);
static inline uint64_t *bench_page(const struct bench_area *a, size_t page)
{
	return (uint64_t *)(a->base + page * BENCH_PAGE);
}

/* bench_engine.c: an engine with one guest and `bytes` of RAM at gpa 0. */
struct bench_engine {
	bool no_smart_scan;
	bool scatter_ksm;
};
int bench_engine_open(void *base, size_t bytes, struct bench_engine how,
		      struct tf_engine **engine, struct tf_guest **guest);

/* bench_settle.c */
#define BENCH_MAX_PASSES 100
#define BENCH_STABLE_PASSES 3

struct bench_settled {
	struct bench_counts counts;
	uint64_t cpu_ns;  /* until 99 % of the final sharing */
	uint64_t wall_ns; /* likewise */
	unsigned passes;  /* all that were made */
};

/*
 * Open the side if it is not open, and make passes until sharing has not
 * grown for stable_passes of them, or max_passes are over.
 */
int bench_settle(struct bench_side *side, const struct bench_area *area,
		 unsigned max_passes, unsigned stable_passes,
		 struct bench_settled *ret);

/* bench_converge.c: what converge and memory have in common. */
struct bench_measured {
	struct bench_settled settled;
	size_t duplicates;
	size_t wrong_pages;
	int64_t saved_bytes;  /* as meminfo's free_bytes grew */
	int64_t kernel_bytes; /* as meminfo's kernel_bytes grew */
	int64_t anon_bytes;   /* of this process, outside the area */
	long vmas;
};

int bench_measure(const struct bench_opts *opts, struct bench_side *side,
		  struct bench_measured *ret);

/* bench_util.c */
uint64_t bench_now_ns(void);
uint64_t bench_process_cpu_ns(void);
uint64_t bench_random(uint64_t *state);
double bench_median(double *values, size_t n); /* sorts them */
/* A line on stderr; returns `code`. */
int bench_fail(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void bench_set_int(json_t *object, const char *key, int64_t value);
void bench_set_real(json_t *object, const char *key, double value);
/* a / b, or null when that says nothing. */
void bench_set_ratio(json_t *object, const char *key, double a, double b);
double bench_get(const json_t *object, const char *key);

/* Times in ns, and their percentiles. */
struct bench_times {
	uint64_t *ns;
	size_t n, room;
};
int bench_times_add(struct bench_times *t, uint64_t ns);
/* For cases without a peer: our figures are the result. */
void bench_join_alone(const struct bench_opts *opts, json_t *top,
		      json_t *twinfold, json_t *ksm);

/* All of them together, in microseconds. */
double bench_times_sum_us(const struct bench_times *t);
/* Percentile 0..1 in microseconds; sorts. 0 when there are none. */
double bench_times_us(struct bench_times *t, double fraction);

#endif
