/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reader of /proc/self/smaps, fed with arbitrary text through a seam of
 * its own. Whatever it says, the result is an errno or sound attributes.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/attrs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t *input;
static size_t input_len;

static int fake_read_file(const struct tf_os *os, const char *path, char **text)
{
	char *p = malloc(input_len + 1);

	(void)os;
	(void)path;
	if (!p)
		return -ENOMEM;
	memcpy(p, input, input_len);
	p[input_len] = '\0';
	*text = p;
	return 0;
}

static int fake_policy(const struct tf_os *os, void *addr, int *mode,
		       unsigned long *nodes, unsigned long maxnode)
{
	(void)os;
	(void)addr;
	(void)nodes;
	(void)maxnode;
	*mode = 0;
	return 0;
}

static void ignore_line(void *user, enum tf_log_level level, const char *line)
{
	(void)user;
	(void)level;
	if (strchr(line, '\n'))
		abort();
}

/* The range that is asked for: the first one that the text names, or any. */
static void first_range(uintptr_t *start, size_t *bytes)
{
	char head[40] = "";
	char *end;
	uintptr_t to;

	memcpy(head, input, input_len < 39 ? input_len : 39);
	*start = strtoul(head, &end, 16) & ~(TF_PAGE - 1);
	to = *end == '-' ? strtoul(end + 1, NULL, 16) & ~(TF_PAGE - 1) : 0;
	*bytes = to > *start ? to - *start : TF_PAGE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct tf_os os = { .read_file = fake_read_file,
				  .policy = fake_policy };
	const struct tf_logger log = { .fn = ignore_line };
	struct tf_attrs a;
	uintptr_t start;
	size_t bytes;
	int err;

	input = data;
	input_len = len;
	first_range(&start, &bytes);
	err = tf_attrs_read(&os, &log, (char *)start, bytes, NULL, NULL, &a);
	if (err != 0 && err != -ENOMEM && err != -EOPNOTSUPP)
		abort();
	if (!err && (a.nadvices > TF_ATTR_ADVICES ||
		     !memchr(a.name, '\0', sizeof(a.name))))
		abort();
	return 0;
}
