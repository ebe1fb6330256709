/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counts of /proc/self. A sanitizer's runtime maps memory whenever it likes:
 * there only the mappings of stores are compared.
 */
#include "lib/leak.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/process.h"
#include "lib/sanitized.h"
#include "lib/threads.h"

static void count_maps(struct leak *ret, bool print)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	if (!f)
		test_fail("/proc/self/maps cannot be read");
	while (fgets(line, sizeof(line), f)) {
		ret->maps++;
		ret->stores += strstr(line, "twinfold-store") != NULL;
		if (print)
			fputs(line, stderr);
	}
	fclose(f);
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* A sanitizer's own thread comes with the first thread of the program. */
static void wake_runtime(void)
{
	static bool awake;
	pthread_t t;

	if (awake || pthread_create(&t, NULL, do_nothing, NULL))
		return;
	pthread_join(t, NULL);
	awake = true;
}

void leak_take(struct leak *ret)
{
	wake_runtime();
	*ret = (struct leak){
		.fds = process_fds(),
		.threads = process_threads(),
	};
	count_maps(ret, false);
}

void leak_check(const struct leak *before)
{
	struct leak now;

	leak_take(&now);
	if (now.fds == before->fds && now.threads == before->threads &&
	    now.stores == before->stores &&
	    (SANITIZED || now.maps == before->maps))
		return;
	count_maps(&now, true);
	leak_take(&now);
	test_fail("left behind: descriptors %u -> %u, threads %u -> %u, "
		  "store mappings %u -> %u, mappings %u -> %u",
		  before->fds, now.fds, before->threads, now.threads,
		  before->stores, now.stores, before->maps, now.maps);
}
