/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See inside.h. Every drill runs in a child, as one that dies of a lost page
 * must take nothing with it. Only the child uses the channel meanwhile.
 */
#include "agent/drillhost/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/drillhost/case.h"
#include "agent/knob.h"
#include "agent/verbs.h"

#define PORT "/dev/vport*p1"
#define PORT_TRIES 1500
#define MACHINE_CHECK "/sys/devices/system/machinecheck/machinecheck0/"
#define NEXT_S 3600.0 /* the other side ends the host */

static void rest(void)
{
	static const struct timespec pause = { .tv_nsec = 20000000 };

	nanosleep(&pause, NULL);
}

static int try_port(void)
{
	glob_t found;
	int fd;

	if (glob(PORT, 0, NULL, &found))
		return -1;
	fd = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
	globfree(&found);
	return fd;
}

static int open_port(void)
{
	int fd = -1;

	for (int i = 0; i < PORT_TRIES && fd < 0; i++) {
		fd = try_port();
		if (fd < 0)
			rest();
	}
	return fd;
}

/* ---- one drill ---- */

static void describe_death(struct row *row, int status)
{
	const char *name = sigabbrev_np(WTERMSIG(status));

	row->ran = true;
	row->deaths = row->guests;
	snprintf(row->outcome, sizeof(row->outcome),
		 "killed by SIG%s, with all %u guests", name ? name : "?",
		 row->guests);
	if (row->configuration == ROW_TWINFOLD)
		row_blame(row, "killed by SIG%s", name ? name : "?");
}

/* True: it has ended, and *status says how. */
static bool wait_child(pid_t pid, double seconds, int *status)
{
	double end = clock_s() + seconds;

	while (waitpid(pid, status, WNOHANG) != pid) {
		if (clock_s() > end) {
			kill(pid, SIGKILL);
			waitpid(pid, status, 0);
			return false;
		}
		rest();
	}
	return true;
}

static void run_child(struct cell *cell)
{
	double began = clock_s();
	struct row *row = cell->row;
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (row->configuration == ROW_TWINFOLD)
			cell->drill->twinfold(cell);
		else
			cell->drill->baseline(cell);
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0)
		row_blame(row, "cannot fork");
	else if (!wait_child(pid, cell->drill->seconds, &status))
		row_blame(row, "not done in %u s; %s", cell->drill->seconds,
			  row->outcome);
	else if (WIFSIGNALED(status))
		describe_death(row, status);
	row->seconds = clock_s() - began;
}

static void run_cell(struct cell *cell)
{
	const struct drill_case *drill = cell->drill;
	bool baseline = cell->row->configuration == ROW_BASELINE;
	uint32_t lacks = drill->needs | (baseline ? drill->needs_baseline : 0);
	char names[160];

	lacks &= ~cell->caps;
	if (!lacks) {
		run_child(cell);
		return;
	}
	caps_list(lacks, names, sizeof(names));
	row_blame(cell->row, "the drill host lacks %s", names);
}

static void prepare_row(struct row *row, const char *drill,
			const char *configuration)
{
	memset(row, 0, sizeof(*row));
	snprintf(row->drill, sizeof(row->drill), "%s", drill);
	row->configuration = strcmp(configuration, "baseline") ? ROW_TWINFOLD :
								 ROW_BASELINE;
}

/* ---- all of them ---- */

static int serve(struct channel *outer, const json_t *request, uint32_t caps,
		 struct row *row)
{
	const char *name = channel_text(request, "run");
	struct cell cell = {
		.drill = drill_case_find(name),
		.row = row,
		.outer = outer,
		.seed = (uint64_t)json_integer_value(
			json_object_get(request, "seed")),
		.caps = caps,
	};

	prepare_row(row, name, channel_text(request, "configuration"));
	if (cell.drill)
		run_cell(&cell);
	else
		row_blame(row, "no drill has this name inside");
	return channel_send(outer, json_pack("{s:o}", "row", row_to_json(row)));
}

static int serve_all(struct channel *outer, struct row *row)
{
	uint32_t caps = caps_find();
	int r = channel_send(outer,
			     json_pack("{s:o}", "hello", caps_to_json(caps)));

	while (!r) {
		json_t *request = NULL;

		r = channel_receive(outer, NEXT_S, &request);
		if (!r)
			r = serve(outer, request, caps, row);
		json_decref(request);
	}
	return r;
}

int inside_run(void)
{
	static struct channel outer;
	struct row *row = mmap(NULL, sizeof(*row), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = open_port(), r;

	if (row == MAP_FAILED || fd < 0) {
		fprintf(stderr, "twinfold drill --inside: %s: %s\n", PORT,
			strerror(errno));
		return TF_EXIT_HOST;
	}
	/* Deferred errors are found within a second then; and CPUs wait longer
	 * for each other in a broadcast one than the kernel would, in
	 * microseconds, before it panics: this machine may be busy. */
	knob_write(MACHINE_CHECK "check_interval", "1");
	knob_write(MACHINE_CHECK "monarch_timeout", "30000000");
	channel_init(&outer, fd);
	r = serve_all(&outer, row);
	fprintf(stderr, "twinfold drill --inside: the channel: %s\n",
		strerror(-r));
	return TF_EXIT_OK;
}
