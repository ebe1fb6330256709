/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Intel: a shared page is lost (SRAO), and then guests are started anew on the
 * same host, as an operator does with guests that died. KSM compares new pages
 * with the ones that it has, the lost one among them.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/drillhost/world.h"

static void first_guests(struct cell *cell)
{
	world_one_fault(cell, &(struct world_fault){ .opts.backend =
							     TF_BACKEND_THREAD,
						     .kind = TF_WORK_COMMON,
						     .how = LOSE_SRAO,
						     .early = true });
}

static void run_first(struct cell *cell)
{
	struct row *row = cell->row;
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		first_guests(cell);
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		row_blame(row, "the first guests cannot be waited for");
	if (!WIFSIGNALED(status))
		return;
	row->deaths = row->guests;
	snprintf(row->outcome, sizeof(row->outcome), "all %u guests killed",
		 row->guests);
	if (row->configuration == ROW_TWINFOLD)
		row_blame(row, "the first guests were killed");
}

/* Nothing is lost this time. */
static void run_second(struct cell *cell)
{
	static struct world world;
	struct world_opts opts = { .backend = TF_BACKEND_THREAD };

	if (!world_create(cell, &opts, &world))
		world_finish(&world);
}

static void append(struct row *row, const char *what)
{
	size_t used = strlen(row->outcome);

	snprintf(row->outcome + used, sizeof(row->outcome) - used, "; %s",
		 what);
}

static void restart(struct cell *cell)
{
	static struct row anew;
	struct row *row = cell->row;
	struct cell second = *cell;

	run_first(cell);
	anew.configuration = row->configuration;
	second.row = &anew;
	run_second(&second);
	row->guest_checks += anew.guest_checks;
	row->guest_check_failures += anew.guest_check_failures;
	row->wrong_bytes += anew.wrong_bytes;
	append(row, anew.passed ? "guests started anew are merged" :
				  "guests started anew are not merged");
	if (!anew.passed && row->configuration == ROW_TWINFOLD)
		row_blame(row, "guests started anew: %s", anew.why);
}

const struct drill_case drill_lib_restart = {
	.name = "lib-restart",
	.fault = "guests started anew after a lost shared page",
	.host = { .vendor = HOST_INTEL, .cpus = 2, .nodes = 1 },
	.needs = CAP(MEMORY_FAILURE) | CAP(MERGE),
	.needs_baseline = CAP(KSM),
	.seconds = 180,
	.twinfold = restart,
	.baseline = restart,
};
