/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See caps.h. */
#include "agent/drillhost/caps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <numa.h>

#include "agent/drillhost/assign.h"
#include "agent/drillhost/inner.h"
#include "agent/ksm.h"
#include "agent/places.h"
#include "twinfold/twinfold.h"
#include "twinfold/vmm.h"

#define MEMORY "/sys/devices/system/memory/"
#define MACHINE "/sys/class/dmi/id/product_version"
#define FEATURE_POISON (UINT64_C(1) << 14) /* UFFD_FEATURE_POISON, 6.6 */

static bool has_word(const char *path, const char *word)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	bool found = false;

	while (file && !found && getline(&line, &room, file) > 0)
		found = strstr(line, word) != NULL;
	free(line);
	if (file)
		fclose(file);
	return found;
}

static bool has_memory_failure(void)
{
	return has_word("/proc/meminfo", "HardwareCorrupted:");
}

static bool has_soft_offline(void)
{
	return !access(MEMORY "soft_offline_page", W_OK);
}

static bool has_hard_offline(void)
{
	return !access(MEMORY "hard_offline_page", W_OK);
}

static bool has_hwpoison_inject(void)
{
	return !access("/sys/kernel/debug/hwpoison/corrupt-pfn", W_OK);
}

static bool has_mce_poll(void)
{
	return !access("/sys/devices/system/machinecheck/machinecheck0/"
		       "check_interval",
		       W_OK);
}

static bool has_corrected(void)
{
	return !access("/sys/kernel/debug/ras/cec/action_threshold", R_OK);
}

static bool has_succor(void)
{
	return has_word("/proc/cpuinfo", " succor");
}

/* Whether the QEMU that emulates this host, and names the machine after itself
 * (pc-i440fx-10.0), is 8.1 or later. */
static bool runs_new_code(void)
{
	unsigned major = 0, minor = 0;
	char name[64] = "";
	FILE *file = fopen(MACHINE, "re");
	const char *at;

	if (file && fscanf(file, "%63s", name) != 1)
		*name = '\0';
	if (file)
		fclose(file);
	at = strrchr(name, '-');
	if (!at || sscanf(at, "-%u.%u", &major, &minor) != 2)
		return false;
	return major > 8 || (major == 8 && minor >= 1);
}

/*
 * Older QEMUs may go on running code that the kernel has replaced. When the first
 * guest starts, the kernel puts into its scheduler the calls that tell KVM on which
 * CPU a guest runs: it panics there, or KVM misses them.
 */
static bool has_nested_kvm(void)
{
	struct tf_vm *vm = NULL;
	int r = runs_new_code() ? tf_vm_create(NULL, &vm) : -ENOTSUP;

	tf_vm_destroy(vm);
	return !r;
}

static bool has_qemu(void)
{
	return *inner_qemu() == '/' || places_in_path(inner_qemu());
}

/* Whether guests on AMD survive it: QEMU before 9.1 raises machine checks of
 * Intel's pattern, and KVM takes MCG_SER_P away there. */
static bool has_qemu_tells(void)
{
	unsigned major = 0, minor = 0;
	char command[128];
	FILE *out;

	snprintf(command, sizeof(command), "%s --version 2>/dev/null",
		 inner_qemu());
	out = popen(command, "r"); /* NOLINT(cert-env33-c): our own words */
	if (!out)
		return false;
	if (fscanf(out, "QEMU emulator version %u.%u", &major, &minor) != 2)
		major = 0;
	pclose(out);
	return major > 9 || (major == 9 && minor >= 1);
}

static void engine_can(struct tf_stats *ret)
{
	struct tf_engine *engine = NULL;

	*ret = (struct tf_stats){ .size = sizeof(*ret) };
	if (!tf_engine_create(NULL, &engine))
		tf_engine_stats(engine, ret);
	tf_engine_destroy(engine);
}

static bool has_merge(void)
{
	struct tf_stats s;

	engine_can(&s);
	return s.can_merge;
}

static bool has_scan_dirty(void)
{
	struct tf_stats s;

	engine_can(&s);
	return s.scan_dirty;
}

static bool has_uffd_poison(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	bool found = fd >= 0 && !ioctl(fd, UFFDIO_API, &api) &&
		     (api.features & FEATURE_POISON);

	if (fd >= 0)
		close(fd);
	return found;
}

static bool has_ksm(void)
{
	return !access(KSM_RUN, W_OK);
}

static bool has_two_nodes(void)
{
	return numa_available() >= 0 && numa_num_configured_nodes() > 1;
}

static const struct {
	const char *name, *about;
	bool (*has)(void);
} table[N_CAPS] = {
	[CAP_MEMORY_FAILURE] = { "memory-failure",
				 "CONFIG_MEMORY_FAILURE: the kernel takes lost "
				 "pages away",
				 has_memory_failure },
	[CAP_SOFT_OFFLINE] = { "soft-offline", "soft_offline_page in /sys",
			       has_soft_offline },
	[CAP_HARD_OFFLINE] = { "hard-offline", "hard_offline_page in /sys",
			       has_hard_offline },
	[CAP_HWPOISON_INJECT] = { "hwpoison-inject",
				  "the module hwpoison-inject, and debugfs",
				  has_hwpoison_inject },
	[CAP_MCE_POLL] = { "mce-poll",
			   "machine check banks are polled, at an interval "
			   "that can be set",
			   has_mce_poll },
	[CAP_CORRECTED] = { "corrected-errors",
			    "CONFIG_RAS_CEC: the kernel moves pages that have "
			    "corrected errors",
			    has_corrected },
	[CAP_SUCCOR] = { "succor",
			 "an AMD CPU that survives uncorrected errors",
			 has_succor },
	[CAP_NESTED_KVM] = { "nested-kvm",
			     "/dev/kvm works, and the host is emulated by QEMU "
			     "8.1 or later ('./dev setup' brings one)",
			     has_nested_kvm },
	[CAP_QEMU] = { "qemu", "qemu-system-x86_64 is there", has_qemu },
	[CAP_QEMU_TELLS] = { "qemu-tells",
			     "QEMU 9.1 or later: tells guests on AMD of lost "
			     "pages in a way that they survive",
			     has_qemu_tells },
	[CAP_APPARMOR] = { "apparmor",
			   "AppArmor, its parser, and libvirt's abstraction",
			   confine_possible },
	[CAP_VFIO] = { "vfio", "a PCI device that can be given to a guest",
		       assign_possible },
	[CAP_MERGE] = { "merge",
			"UFFDIO_MOVE: the engine can merge pages (6.8)",
			has_merge },
	[CAP_SCAN_DIRTY] = { "scan-dirty", "PAGEMAP_SCAN is in use (6.7)",
			     has_scan_dirty },
	[CAP_UFFD_POISON] = { "uffd-poison", "UFFDIO_POISON (6.6)",
			      has_uffd_poison },
	[CAP_KSM] = { "ksm", "the kernel's own page merging, for the baseline",
		      has_ksm },
	[CAP_TWO_NODES] = { "two-nodes", "two NUMA nodes", has_two_nodes },
};

uint32_t caps_find(void)
{
	uint32_t set = 0;

	for (int i = 0; i < N_CAPS; i++)
		set |= (uint32_t)table[i].has() << i;
	return set;
}

const char *caps_name(enum cap cap)
{
	return table[cap].name;
}

const char *caps_about(enum cap cap)
{
	return table[cap].about;
}

void caps_list(uint32_t set, char *ret, unsigned room)
{
	unsigned n = 0;

	snprintf(ret, room, "nothing");
	for (int i = 0; i < N_CAPS && n < room; i++)
		if (set >> i & 1)
			n += (unsigned)snprintf(ret + n, room - n, "%s%s",
						n ? ", " : "", table[i].name);
}

/* Of the first CPU. */
static void cpu_model(char *ret, size_t room)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[512];

	*ret = '\0';
	while (file && !*ret && fgets(line, sizeof(line), file)) {
		const char *value = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !value)
			continue;
		snprintf(ret, room, "%s", value + 2);
		ret[strcspn(ret, "\n")] = '\0';
	}
	if (file)
		fclose(file);
}

json_t *caps_to_json(uint32_t set)
{
	json_t *has = json_object();
	struct utsname u;
	char model[128];

	uname(&u);
	cpu_model(model, sizeof(model));
	for (int i = 0; i < N_CAPS; i++)
		json_object_set_new(has, table[i].name,
				    json_boolean(set >> i & 1));
	return json_pack("{s:s,s:s,s:I,s:I,s:o}", "kernel", u.release, "cpu",
			 model, "cpus",
			 (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "set",
			 (json_int_t)set, "has", has);
}
