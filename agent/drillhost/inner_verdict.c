/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See inner.h: what became of the guest. Its machine checks are read from its
 * own kernel's log, and what had to come from what was lost, never from the
 * library.
 */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/drillhost/inner.h"
#include "agent/drillhost/monitor.h"

#define PAGE_BYTES 4096
#define LOST_MAX 64
#define MARK "Memory failure: 0x"

/* Pages that the guest's kernel took away, each once. */
struct lost {
	uint64_t gpa[LOST_MAX];
	unsigned n;
};

static void note(struct lost *lost, uint64_t gpa)
{
	for (unsigned i = 0; i < lost->n; i++)
		if (lost->gpa[i] == gpa)
			return;
	if (lost->n < LOST_MAX)
		lost->gpa[lost->n++] = gpa;
}

static void read_lost(const struct inner *inner, struct lost *ret)
{
	char *text = inner_text(inner->console);
	const char *at = text;

	ret->n = 0;
	if (!text)
		return;
	while ((at = strstr(at, MARK))) {
		at += strlen(MARK);
		note(ret, strtoull(at, NULL, 16) * PAGE_BYTES);
	}
	free(text);
}

static void take_report(const struct inner *inner, const struct lost *lost)
{
	struct row *row = inner->cell->row;

	row->guest_checks = inner->now.checks;
	row->guest_check_failures = inner->now.failures;
	row->wrong_bytes = inner->now.wrong_bytes;
	row->lost_writes = inner->now.lost_writes;
	row->vmces = lost->n;
}

/* ---- the end of it ---- */

static void describe_end(const struct inner *inner, char *ret, size_t room)
{
	int status = 0;

	if (waitpid(inner->pid, &status, WNOHANG) != inner->pid)
		snprintf(ret, room, "its kernel panicked");
	else if (WIFSIGNALED(status))
		snprintf(ret, room, "QEMU killed by SIG%s",
			 sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(ret, room, "QEMU ended with status %d",
			 WEXITSTATUS(status));
}

/* The line of a text that has this word, or "". */
static void find_line(int fd, const char *word, char *ret, size_t room)
{
	char *text = inner_text(fd);
	const char *at = text ? strstr(text, word) : NULL;

	*ret = '\0';
	if (at)
		snprintf(ret, room, "%.*s", (int)strcspn(at, "\r\n"), at);
	free(text);
}

int inner_died(struct inner *inner)
{
	struct row *row = inner->cell->row;
	char end[48], panic[80];
	struct lost lost;

	read_lost(inner, &lost);
	take_report(inner, &lost);
	describe_end(inner, end, sizeof(end));
	find_line(inner->console, "Kernel panic", panic, sizeof(panic));
	row->deaths = 1;
	snprintf(row->outcome, sizeof(row->outcome), "the guest died: %s%s%s",
		 end, *panic ? "; " : "", panic);
	if (row->configuration == ROW_TWINFOLD)
		row_blame(row, "%s", row->outcome);
	return -ESRCH;
}

/* ---- the guest goes on ---- */

static void take_stats(struct inner *inner)
{
	struct row *row = inner->cell->row;
	json_int_t v[6] = { 0 };
	json_t *stats = NULL;

	if (inner_stats(inner, &stats))
		return;
	json_unpack(stats, "{s:I,s:I,s:I,s:I,s:I,s:I}", "heals", &v[0],
		    "heals_fresh_copy", &v[1], "heals_existing_dup", &v[2],
		    "heals_other", &v[3], "unrecoverable", &v[4],
		    "transient_failed", &v[5]);
	json_decref(stats);
	row->healed = (uint64_t)v[0];
	row->by_source.fresh_copy = (uint64_t)v[1];
	row->by_source.existing_dup = (uint64_t)v[2];
	row->by_source.zero = (uint64_t)v[3];
	row->unrecoverable = (uint64_t)v[4];
	if (v[5])
		row_blame(row, "%lld errors got no verdict in time",
			  (long long)v[5]);
	if (v[4])
		row_blame(row, "the engine lost memory of its own");
}

static void judge_unseen(const struct inner *inner, const struct lost *lost)
{
	struct row *row = inner->cell->row;
	char line[96];

	if (lost->n)
		row_blame(row, "a machine check for gpa 0x%" PRIx64,
			  lost->gpa[0]);
	if (inner->now.keeper || inner->now.owner)
		row_blame(row, "a process of the guest ended: %d, %d",
			  inner->now.keeper, inner->now.owner);
	if (row->healed != 1)
		row_blame(row, "%" PRIu64 " errors healed, and 1 had to heal",
			  row->healed);
	find_line(inner->errors, "MCE", line, sizeof(line));
	if (*line)
		row_blame(row, "QEMU has seen the error: %s", line);
}

static void judge_told(const struct inner *inner, const struct lost *lost,
		       uint64_t gpa)
{
	struct row *row = inner->cell->row;

	row->expected_vmces = 1;
	if (lost->n != 1 || lost->gpa[0] != gpa)
		row_blame(row,
			  "gpa 0x%" PRIx64 " was lost, and the guest's kernel "
			  "took away %u pages, the first 0x%" PRIx64,
			  gpa, lost->n, lost->n ? lost->gpa[0] : 0);
	if (inner->now.owner != SIGBUS || inner->now.keeper)
		row_blame(row,
			  "the process that lost its page ended by %d, and the "
			  "other one by %d",
			  inner->now.owner, inner->now.keeper);
	if (row->healed)
		row_blame(row, "a page without a twin healed");
}

static void tell(const struct inner *inner, const struct lost *lost)
{
	struct row *row = inner->cell->row;
	const char *bytes = inner->now.failures ? "WRONG BYTES" :
						  "every byte right";
	unsigned killed = !!inner->now.keeper + !!inner->now.owner;

	if (!killed && !lost->n)
		snprintf(row->outcome, sizeof(row->outcome),
			 "the guest noticed nothing, %s", bytes);
	else
		snprintf(row->outcome, sizeof(row->outcome),
			 "the guest went on, %s; told of %u lost page%s, %u of "
			 "its 2 processes killed",
			 bytes, lost->n, lost->n == 1 ? "" : "s", killed);
}

void inner_judge(struct inner *inner, uint64_t gpa, enum inner_kind kind)
{
	struct row *row = inner->cell->row;
	struct lost lost;

	read_lost(inner, &lost);
	take_report(inner, &lost);
	tell(inner, &lost);
	if (row->configuration == ROW_BASELINE)
		return;
	take_stats(inner);
	if (row->guest_check_failures)
		row_blame(row, "%" PRIu64 " checks of the guest failed",
			  row->guest_check_failures);
	if (kind == INNER_UNIQUE)
		judge_told(inner, &lost, gpa);
	else
		judge_unseen(inner, &lost);
}

static void print_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		printf("    %s", line);
	if (file)
		fclose(file);
}

/* What each of QEMU's threads is waiting for in the kernel. */
static void print_threads(const struct inner *inner)
{
	char pattern[48], path[96];
	glob_t all;

	snprintf(pattern, sizeof(pattern), "/proc/%d/task/*", (int)inner->pid);
	if (glob(pattern, 0, NULL, &all))
		return;
	for (size_t i = 0; i < all.gl_pathc; i++) {
		printf("drill: %s\n", all.gl_pathv[i]);
		snprintf(path, sizeof(path), "%.80s/comm", all.gl_pathv[i]);
		print_file(path);
		snprintf(path, sizeof(path), "%.80s/stack", all.gl_pathv[i]);
		print_file(path);
	}
	globfree(&all);
}

void inner_print(struct inner *inner)
{
	char *errors = inner_text(inner->errors);
	char *console = inner_text(inner->console);
	char *registers = NULL;

	printf("drill: QEMU:\n%s\ndrill: the guest:\n%s\n",
	       errors ? errors : "", console ? console : "");
	free(errors);
	free(console);
	print_threads(inner);
	if (!inner->ended &&
	    !monitor_line(&inner->qmp, "info registers", &registers))
		printf("drill: its CPU:\n%s\n", registers);
	free(registers);
}
