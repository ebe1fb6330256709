/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the knowledge of KSM's files. "At its best" means: never asleep, large
 * batches, smart_scan on, no advisor. Must never leave a setting changed: all
 * writes but those of `run` while measuring go through knob_set(). No locks.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/knob.h"
#include "agent/ksm.h"

#define KSM_DIR "/sys/kernel/mm/ksm/"

static int read_optional(const char *path, uint64_t *ret)
{
	unsigned long long value = 0;
	int err = knob_read_u64(path, &value);

	if (err && err != -ENOENT)
		return err;
	*ret = value;
	return 0;
}

int ksm_usable(const char **why)
{
	struct ksm_counts c;

	if (access(KSM_RUN, F_OK)) {
		*why = "no /sys/kernel/mm/ksm; use a kernel with CONFIG_KSM";
		return -ENOENT;
	}
	if (access(KSM_RUN, W_OK)) {
		*why = "KSM's settings cannot be written; run as root";
		return -EPERM;
	}
	if (ksm_counts(&c) || c.shared || c.zero_pages) {
		*why = "KSM shares pages of other processes now; "
		       "run where it is idle";
		return -EBUSY;
	}
	return 0;
}

/* A setting that only newer kernels have. */
static int set_optional(const char *path, const char *value)
{
	int err = knob_set(path, value);

	return err == -ENOENT ? 0 : err;
}

/*
 * The order matters when it is undone: pages are un-merged first (some
 * settings refuse to change while pages are shared), the advisor comes back
 * after pages_to_scan, and `run` is last.
 */
int ksm_setup(bool use_zero_pages)
{
	int err = knob_set(KSM_RUN, "2");

	err = err ? err : set_optional(KSM_DIR "advisor_mode", "none");
	err = err ? err : knob_set(KSM_DIR "sleep_millisecs", "0");
	err = err ? err : knob_set(KSM_DIR "pages_to_scan", "100000");
	err = err ? err : set_optional(KSM_DIR "smart_scan", "1");
	err = err ? err :
		    set_optional(KSM_DIR "use_zero_pages",
				 use_zero_pages ? "1" : "0");
	err = err ? err : set_optional(KSM_DIR "max_page_sharing", "256");
	err = err ? err : set_optional(KSM_DIR "merge_across_nodes", "1");
	err = err ? err : knob_on_restore(KSM_RUN, "2");
	return err ? err : ksm_clear();
}

int ksm_clear(void)
{
	int err = knob_write(KSM_RUN, "2");

	return err ? err : knob_write(KSM_RUN, "0");
}

int ksm_run(bool on)
{
	return knob_write(KSM_RUN, on ? "1" : "0");
}

int ksm_counts(struct ksm_counts *ret)
{
	struct ksm_counts c = { 0 };
	int err = read_optional(KSM_DIR "pages_shared", &c.shared);

	err = err ? err : read_optional(KSM_DIR "pages_sharing", &c.sharing);
	err = err ? err :
		    read_optional(KSM_DIR "ksm_zero_pages", &c.zero_pages);
	err = err ? err : read_optional(KSM_DIR "full_scans", &c.full_scans);
	if (!err)
		*ret = c;
	return err;
}

static bool is_ksmd(const char *pid)
{
	char path[64], comm[32];

	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	return !knob_read(path, comm, sizeof(comm)) && !strcmp(comm, "ksmd");
}

static int find_ksmd(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	int pid = -ESRCH;

	if (!proc)
		return -errno;
	while (pid < 0 && (d = readdir(proc)))
		if (d->d_name[0] >= '1' && d->d_name[0] <= '9' &&
		    is_ksmd(d->d_name))
			pid = atoi(d->d_name);
	closedir(proc);
	return pid;
}

int ksm_cpu_ns(uint64_t *ret)
{
	static int pid;
	char path[64], text[64];
	int err;

	if (pid <= 0)
		pid = find_ksmd();
	if (pid <= 0)
		return pid;
	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	err = knob_read(path, text, sizeof(text));
	if (!err)
		*ret = strtoull(text, NULL, 10);
	return err;
}
