/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sized structs across versions: a caller compiled against an older header
 * passes a smaller struct, one compiled against a newer header a larger one.
 */
#include "engine/opts.h"

#include <errno.h>
#include <string.h>

int tf_opts_copy(void *to, size_t size, const void *from)
{
	size_t theirs;

	if (!from)
		return 0;
	memcpy(&theirs, from, sizeof(theirs));
	if (theirs < sizeof(size_t) || theirs > 4096)
		return -EINVAL;
	for (size_t i = size; i < theirs; i++)
		if (((const char *)from)[i])
			return -EINVAL;
	memcpy(to, from, theirs < size ? theirs : size);
	memcpy(to, &size, sizeof(size));
	return 0;
}

int tf_opts_export(void *to, const void *from, size_t size)
{
	size_t theirs;

	memcpy(&theirs, to, sizeof(theirs));
	if (theirs <= sizeof(size_t) || theirs > 4096)
		return -EINVAL;
	memset(to, 0, theirs);
	memcpy(to, from, theirs < size ? theirs : size);
	memcpy(to, &theirs, sizeof(theirs));
	return 0;
}
