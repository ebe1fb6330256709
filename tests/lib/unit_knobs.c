/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lock on the host's settings. */
#include "lib/unit_knobs.h"

#include <errno.h>
#include <unistd.h>

#include "agent/knob.h"

/* How long to wait for another program that changes settings. */
#define TURN_MS 30000u
#define NAP_MS 50u

static int taken = -EAGAIN;

int unit_knobs_take(void **state)
{
	(void)state;
	taken = knob_guard();
	for (unsigned i = 0; taken == -EBUSY && i < TURN_MS / NAP_MS; i++) {
		usleep(NAP_MS * 1000);
		taken = knob_guard();
	}
	return 0;
}

int unit_knobs_taken(void)
{
	return taken;
}

int unit_knobs_give_back(void **state)
{
	(void)state;
	knob_restore();
	return 0;
}
