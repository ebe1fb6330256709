/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory that is merged, and what is in it. Content ids: a page that is
 * alone has its own number as id; of a scattered area's groups, group g has
 * the id 2 g + 1, and its members are spread over the whole range. Nothing
 * here depends on the side that merges. One writer at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/bench.h"
#include "agent/meminfo.h"

#define GROUP 8

size_t bench_pages(unsigned mem_mib)
{
	return (size_t)mem_mib * (1024 * 1024 / BENCH_PAGE);
}

static size_t scattered_groups(const struct bench_area *area)
{
	return area->pages / 2 / GROUP;
}

uint32_t bench_area_id(const struct bench_area *area, size_t page)
{
	bool odd = page & 1;

	switch (area->shape) {
	case BENCH_SCATTERED:
		if (odd)
			page = page / 2 % scattered_groups(area) * 2 + 1;
		break;
	case BENCH_RUNS:
		page %= area->pages / 2;
		break;
	case BENCH_ZERO:
		if (odd)
			return BENCH_ZERO_ID;
		break;
	case BENCH_UNIQUE:
		break;
	}
	return (uint32_t)page;
}

bool bench_area_is_twin(const struct bench_area *area, size_t page)
{
	if (area->shape == BENCH_RUNS)
		return true;
	return area->shape != BENCH_UNIQUE && (page & 1);
}

size_t bench_area_duplicates(const struct bench_area *area)
{
	switch (area->shape) {
	case BENCH_SCATTERED:
		return area->pages / 2 - scattered_groups(area);
	case BENCH_RUNS:
	case BENCH_ZERO:
		return area->pages / 2;
	case BENCH_UNIQUE:
		break;
	}
	return 0;
}

static uint64_t content_seed(const struct bench_area *area, uint32_t id)
{
	uint64_t state = area->seed ^ (uint64_t)id << 32 ^ area->gen[id];

	return bench_random(&state);
}

void bench_area_write(const struct bench_area *area, size_t page)
{
	uint32_t id = bench_area_id(area, page);
	uint64_t *words = bench_page(area, page);
	uint64_t state;

	if (id == BENCH_ZERO_ID) {
		memset(words, 0, BENCH_PAGE);
		return;
	}
	state = content_seed(area, id);
	for (size_t i = 0; i < BENCH_WORDS; i++)
		words[i] = bench_random(&state);
}

/* The first word that is not as it should be, or BENCH_WORDS. */
static unsigned first_wrong_word(const struct bench_area *area, size_t page)
{
	uint32_t id = bench_area_id(area, page);
	const uint64_t *words = bench_page(area, page);
	bool zero = id == BENCH_ZERO_ID;
	uint64_t state = zero ? 0 : content_seed(area, id);
	unsigned i = 0;

	while (i < BENCH_WORDS && words[i] == (zero ? 0 : bench_random(&state)))
		i++;
	return i;
}

size_t bench_area_check(const struct bench_area *area)
{
	size_t wrong = 0;

	for (size_t i = 0; i < area->pages; i++) {
		unsigned word = first_wrong_word(area, i);

		if (word == BENCH_WORDS)
			continue;
		if (!wrong++)
			bench_fail(0, "page %zu of content %u: word %u is %llx",
				   i, bench_area_id(area, i), word,
				   (unsigned long long)bench_page(area,
								  i)[word]);
	}
	return wrong;
}

/* A quarter more than the area: frame tables, page tables, staging. */
static int check_room(size_t bytes)
{
	struct meminfo m;

	if (meminfo_read(&m))
		return TF_EXIT_OK;
	if (m.free_bytes > 0 && (uint64_t)m.free_bytes / 5 * 4 >= bytes)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_HOST,
			  "%zu MiB do not fit into this host; use --mem",
			  bytes >> 20);
}

int bench_area_create(const struct bench_opts *opts, struct bench_area *area)
{
	size_t bytes;
	int code;

	*area = (struct bench_area){ .pages = bench_pages(opts->mem_mib),
				     .shape = opts->shape,
				     .seed = opts->seed };
	bytes = area->pages * BENCH_PAGE;
	code = check_room(bytes);
	if (code)
		return code;
	area->gen = calloc(area->pages, sizeof(*area->gen));
	area->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!area->gen || area->base == MAP_FAILED)
		return bench_fail(TF_EXIT_HOST, "cannot map %zu MiB: %s",
				  bytes >> 20, strerror(errno));
	madvise(area->base, bytes, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < area->pages; i++)
		bench_area_write(area, i);
	return TF_EXIT_OK;
}
