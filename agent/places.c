/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See places.h. */
#include "agent/places.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool places_in_path(const char *program)
{
	const char *dir = getenv("PATH");
	char path[PATH_MAX];

	while (dir && *dir) {
		int n = (int)strcspn(dir, ":");

		snprintf(path, sizeof(path), "%.*s/%s", n, dir, program);
		if (!access(path, X_OK))
			return true;
		dir += n + (dir[n] == ':');
	}
	return false;
}

void places_own_folder(char ret[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);
	char *slash;

	ret[n < 0 ? 0 : n] = '\0';
	slash = strrchr(ret, '/');
	if (slash)
		slash[1] = '\0';
}

static bool find(const char *place, char ret[PATH_MAX])
{
	char pattern[2 * PATH_MAX] = "";
	glob_t found;
	bool ok;

	if (*place != '/')
		places_own_folder(pattern);
	strncat(pattern, place, PATH_MAX - 1);
	if (glob(pattern, 0, NULL, &found))
		return false;
	place = found.gl_pathv[found.gl_pathc - 1];
	ok = strlen(place) < PATH_MAX && !access(place, R_OK);
	if (ok)
		memcpy(ret, place, strlen(place) + 1);
	globfree(&found);
	return ok;
}

bool places_find(const char *const *places, size_t n, char ret[PATH_MAX])
{
	for (size_t i = 0; i < n; i++)
		if (find(places[i], ret))
			return true;
	return false;
}
