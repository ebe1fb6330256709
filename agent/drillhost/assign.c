/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See assign.h. */
#include "agent/drillhost/assign.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/knob.h"

#define DEVICES "/sys/bus/pci/devices/*/vendor"
#define EDU_VENDOR "0x1234"
#define EDU_DEVICE "0x11e8"

static bool says(const char *folder, const char *file, const char *value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	return !knob_read(path, text, sizeof(text)) && !strcmp(text, value);
}

/* Its folder in /sys. */
static bool find(char ret[96])
{
	bool found = false;
	glob_t all;

	if (glob(DEVICES, 0, NULL, &all))
		return false;
	for (size_t i = 0; i < all.gl_pathc && !found; i++) {
		snprintf(ret, 96, "%.*s",
			 (int)(strlen(all.gl_pathv[i]) - strlen("/vendor")),
			 all.gl_pathv[i]);
		found = says(ret, "vendor", EDU_VENDOR) &&
			says(ret, "device", EDU_DEVICE);
	}
	globfree(&all);
	return found;
}

bool assign_possible(void)
{
	char folder[96], group[128];

	if (access("/dev/vfio/vfio", R_OK | W_OK) || !find(folder))
		return false;
	snprintf(group, sizeof(group), "%s/iommu_group", folder);
	return !access(group, X_OK);
}

int assign_take(char ret[ASSIGN_NAME_MAX])
{
	char folder[96], path[128];
	int r;

	if (!find(folder))
		return -ENODEV;
	snprintf(ret, ASSIGN_NAME_MAX, "%.31s", strrchr(folder, '/') + 1);
	snprintf(path, sizeof(path), "%s/driver/unbind", folder);
	if (!access(path, W_OK))
		return 0; /* it was taken before */
	snprintf(path, sizeof(path), "%s/driver_override", folder);
	r = knob_write(path, "vfio-pci");
	return r ? r : knob_write("/sys/bus/pci/drivers_probe", ret);
}
