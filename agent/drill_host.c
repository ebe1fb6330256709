/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the backends of `twinfold drill` need of the host, and what the kernel
 * had to say meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/drill.h"
#include "agent/drillhost/klog.h"
#include "agent/verbs.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

#define CORRUPT_PFN "/sys/kernel/debug/hwpoison/corrupt-pfn"
#define HARD_OFFLINE "/sys/devices/system/memory/hard_offline_page"
#define RECORD_BYTES 8192 /* no record of the log is longer */

static int lacks(const char *backend, const char *what)
{
	fprintf(stderr, "twinfold drill: --backend %s: this host lacks %s\n",
		backend, what);
	return TF_EXIT_HOST;
}

/* That pages can be merged is seen when there is an engine. */
static int check_sim(void)
{
	return TF_EXIT_OK;
}

/* Of no bytes: only whether the kernel knows it. */
static int check_madvise(void)
{
	if (madvise(NULL, 0, MADV_HWPOISON))
		return lacks("madvise", "MADV_HWPOISON (a kernel with "
					"CONFIG_MEMORY_FAILURE)");
	if (geteuid())
		return lacks("madvise", "the right to it (CAP_SYS_ADMIN)");
	return TF_EXIT_OK;
}

static int check_hwpoison(void)
{
	if (!access(CORRUPT_PFN, W_OK) || !access(HARD_OFFLINE, W_OK))
		return TF_EXIT_OK;
	return lacks("hwpoison",
		     CORRUPT_PFN " (the module hwpoison-inject, and debugfs) "
				 "and " HARD_OFFLINE
				 " (CONFIG_MEMORY_FAILURE), or the right to "
				 "write there");
}

static const struct drill_backend backends[] = {
	{ "sim", TF_INJECT_SIM, true, check_sim },
	{ "madvise", TF_INJECT_MADVISE, false, check_madvise },
	{ "hwpoison", TF_INJECT_HWPOISON, false, check_hwpoison },
	{ "mce", TF_INJECT_HWPOISON, false, NULL },
};

const struct drill_backend *drill_backend_find(const char *name)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (!strcmp(backends[i].name, name))
			return &backends[i];
	return NULL;
}

/* ---- the kernel's log ---- */

void drill_log_open(struct drill *d)
{
	d->kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (d->kmsg >= 0 && lseek(d->kmsg, 0, SEEK_END) >= 0)
		return;
	fprintf(stderr,
		"twinfold drill: the kernel's log cannot be read (%s): its "
		"warnings are not counted\n",
		strerror(errno));
	if (d->kmsg >= 0)
		close(d->kmsg);
	d->kmsg = -1;
}

/* One record a read; EPIPE: some were overwritten, the next can be had. */
uint64_t drill_log_warnings(const struct drill *d)
{
	char record[RECORD_BYTES + 1];
	uint64_t found = 0;
	ssize_t n = 1;

	while (d->kmsg >= 0 && (n > 0 || errno == EPIPE)) {
		n = read(d->kmsg, record, RECORD_BYTES);
		if (n <= 0)
			continue;
		record[n] = 0;
		found += klog_is_warning(record);
	}
	return found;
}
