/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Merged RAM that is written page after page. No locks of its own. */
#include "lib/unit_stream.h"

void stream_write(char *ram, unsigned i)
{
	unit_fill(ram + i * TF_PAGE, STREAM_FRESH(i));
}

uint64_t stream_merged(unsigned i)
{
	return 1 + i % STREAM_HALF;
}

void stream_assert_untouched(const char *ram, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		unit_assert_page(ram + i * TF_PAGE, stream_merged(i));
}

unsigned stream_shared(struct unit *u, const char *ram, unsigned from,
		       unsigned to)
{
	unsigned n = 0;

	for (unsigned i = from; i < to; i++)
		n += unit_state(u, ram + i * TF_PAGE) == TF_FRAME_SHARED;
	return n;
}
