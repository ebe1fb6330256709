/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registry of drills. A drill is one fault, against guests that check their
 * own memory, in two configurations: with twinfold, and the same without it. Each
 * is one file in cases/, which defines a `const struct drill_case`, and one
 * line in cases.c.
 *
 * Its functions run inside a drill host, each in a process of its own that may
 * be killed: that guests die is a result. They fill the row, and blame it
 * (row_blame) for what is not as it has to be. What the process has not written
 * when it dies is completed by the one that started it.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_CASE_H
#define TWINFOLD_AGENT_DRILLHOST_CASE_H

#include "agent/drillhost/caps.h"
#include "agent/drillhost/channel.h"
#include "agent/drillhost/host.h"
#include "agent/drillhost/row.h"

struct drill_case;

/* What a running drill has. */
struct cell {
	const struct drill_case *drill;
	struct row *row;       /* in memory that outlives the process */
	struct channel *outer; /* see victim.h */
	uint64_t seed;
	uint32_t caps; /* what this host can do */
};

struct drill_case {
	const char *name;  /* lower case and hyphens, unique */
	const char *fault; /* for people: what is lost, and how */
	struct host_profile host;
	uint32_t needs;          /* of caps.h, in both configurations */
	uint32_t needs_baseline; /* further ones */
	bool own_boot;           /* shares no boot with another */
	unsigned seconds;        /* for each configuration, at most */
	/* baseline NULL: there is nothing to compare with. */
	void (*twinfold)(struct cell *cell);
	void (*baseline)(struct cell *cell);
};

/* All of them, in the order in which they are shown; NULL ends it. */
extern const struct drill_case *const drill_cases[];

const struct drill_case *drill_case_find(const char *name);

#endif
