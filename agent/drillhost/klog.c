/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See klog.h. */
#include "agent/drillhost/klog.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 1024

static const char *const marks[] = {
	"WARNING:",     "BUG",
	"Oops",         "Kernel panic",
	"stall on CPU", "detected stall",
	"soft lockup",  "blocked for more than",
	"refcount_t:",
};

/* What a virtual CPU lacks, said at boot. */
static const char *const harmless[] = {
	"Speculative Return Stack Overflow: ",
	"RETBleed: ",
	"Spectre V2 : ",
};

static bool has_one(const char *line, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strstr(line, words[i]))
			return true;
	return false;
}

#define HAS_ONE(line, words)                                                   \
	has_one(line, words, sizeof(words) / sizeof((words)[0]))

bool klog_is_warning(const char *line)
{
	return HAS_ONE(line, marks) && !HAS_ONE(line, harmless);
}

static const char *without_time(const char *line)
{
	const char *end = *line == '[' ? strchr(line, ']') : NULL;

	return end && end[1] ? end + 2 : line;
}

uint64_t klog_warnings(const char *text, char *ret, unsigned room)
{
	char line[LINE_MAX_BYTES];
	uint64_t found = 0;

	*ret = '\0';
	while (*text) {
		size_t n = strcspn(text, "\r\n");

		snprintf(line, sizeof(line), "%.*s", (int)n, text);
		if (klog_is_warning(line) && !found++)
			snprintf(ret, room, "%s", without_time(line));
		text += n;
		text += strspn(text, "\r\n");
	}
	return found;
}
