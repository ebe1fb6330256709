/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See inner.h: what the guest says, and where its pages are. */
#include <errno.h>
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/drillhost/inner.h"
#include "agent/drillhost/monitor.h"
#include "agent/knob.h"
#include "agent/ksm.h"

#define KSM "/sys/kernel/mm/ksm/"
#define WAIT_S 100.0
#define ANSWER_S 20.0
#define REPORT_NUMBERS 12
#define TAIL 4096 /* several reports */
#define COMMON_PAGES 256

static void rest(void)
{
	static const struct timespec pause = { .tv_nsec = 50000000 };

	nanosleep(&pause, NULL);
}

int inner_failed(const struct inner *inner, const char *what, int r)
{
	row_blame(inner->cell->row, "%s: %s", what, strerror(-r));
	return r;
}

/* ---- reports ---- */

static void take_report(struct inner *inner, const char *line, size_t n)
{
	json_t *list = json_loadb(line, n, 0, NULL);
	uint64_t v[REPORT_NUMBERS];

	if (json_array_size(list) == REPORT_NUMBERS) {
		for (size_t i = 0; i < REPORT_NUMBERS; i++)
			v[i] = (uint64_t)json_integer_value(
				json_array_get(list, i));
		inner->now = (struct inner_report){
			.number = v[0],
			.gpa = { v[1], v[2], v[3] },
			.rounds = v[4],
			.owner_rounds = v[5],
			.checks = v[6],
			.failures = v[7],
			.wrong_bytes = v[8],
			.lost_writes = v[9],
			.keeper = (int)v[10],
			.owner = (int)v[11],
		};
	}
	json_decref(list);
}

/* The last whole line. */
static void read_report(struct inner *inner)
{
	char text[TAIL];
	off_t size = lseek(inner->reports, 0, SEEK_END);
	off_t from = size > TAIL ? size - TAIL : 0;
	ssize_t n = pread(inner->reports, text, sizeof(text), from);
	const char *end = n > 0 ? memrchr(text, '\n', (size_t)n) : NULL;
	const char *begin;

	if (!end)
		return;
	begin = memrchr(text, '\n', (size_t)(end - text));
	begin = begin ? begin + 1 : text;
	take_report(inner, begin, (size_t)(end - begin));
}

static bool has_panicked(const struct inner *inner)
{
	char *text = inner_text(inner->console);
	bool found = text && strstr(text, "Kernel panic");

	free(text);
	return found;
}

int inner_look(struct inner *inner)
{
	siginfo_t info = { 0 };

	read_report(inner);
	if (!inner->ended &&
	    !waitid(P_PID, (id_t)inner->pid, &info,
		    WEXITED | WNOHANG | WNOWAIT) &&
	    info.si_pid == inner->pid)
		inner->ended = true;
	return inner->ended || has_panicked(inner) ? inner_died(inner) : 0;
}

static bool is_through(const struct inner_report *now,
		       const struct inner_report *from, uint64_t more)
{
	return (now->keeper || now->rounds >= from->rounds + more) &&
	       (now->owner || now->owner_rounds >= from->owner_rounds + more);
}

static int hangs(struct inner *inner)
{
	struct row *row = inner->cell->row;

	snprintf(row->outcome, sizeof(row->outcome), "the guest hangs");
	row->deaths = 1;
	return inner_failed(inner, "the guest hangs", -ETIMEDOUT);
}

/* The report that is there now, and the one after it, may have been made of
 * older numbers. */
int inner_rounds(struct inner *inner, uint64_t more)
{
	int r = inner_look(inner);
	uint64_t fresh = inner->now.number + 2;
	double end = clock_s() + WAIT_S;
	struct inner_report from;

	for (from = inner->now; !r && clock_s() < end;) {
		if (inner->now.number <= fresh)
			from = inner->now;
		else if (is_through(&inner->now, &from, more))
			return 0;
		rest();
		r = inner_look(inner);
	}
	return r ? r : hangs(inner);
}

/* ---- the library's socket ---- */

static int connect_ctl(struct inner *inner)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	json_t *greeting = NULL;
	int r;

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", inner->ctl_path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return -errno;
	channel_init(&inner->ctl, fd);
	r = channel_receive(&inner->ctl, ANSWER_S, &greeting);
	json_decref(greeting);
	return r;
}

int inner_try(struct inner *inner, json_t *request, json_t **ret)
{
	json_t *answer = NULL;
	int r = inner->ctl.fd > 0 ? 0 : connect_ctl(inner);

	if (r)
		json_decref(request);
	else
		r = channel_send(&inner->ctl, request);
	if (!r)
		r = channel_receive(&inner->ctl, ANSWER_S, &answer);
	if (!r) {
		*ret = json_incref(json_object_get(answer, "return"));
		r = *ret ? 0 : -EPROTO;
	}
	json_decref(answer);
	return r;
}

int inner_ask(struct inner *inner, json_t *request, json_t **ret)
{
	int r = inner_try(inner, request, ret);

	return r ? inner_failed(inner, "the library's socket", r) : 0;
}

int inner_command(struct inner *inner, const char *name)
{
	json_t *answer = NULL;
	int r = 0;

	if (inner->cell->row->configuration == ROW_TWINFOLD)
		r = inner_ask(inner, json_pack("{s:s}", "execute", name),
			      &answer);
	json_decref(answer);
	return r;
}

int inner_stats(struct inner *inner, json_t **ret)
{
	return inner_ask(inner, json_pack("{s:s}", "execute", "stats"), ret);
}

uint64_t inner_stat(struct inner *inner, const char *name)
{
	json_t *stats = NULL;
	json_int_t n;

	if (inner_stats(inner, &stats))
		return 0;
	n = json_integer_value(json_object_get(stats, name));
	json_decref(stats);
	return (uint64_t)n;
}

/* ---- pages ---- */

int inner_hva(struct inner *inner, uint64_t gpa, uint64_t *ret)
{
	char line[64], *text = NULL;
	const char *is;
	int r;

	snprintf(line, sizeof(line), "gpa2hva 0x%llx", (unsigned long long)gpa);
	r = monitor_line(&inner->qmp, line, &text);
	if (r)
		return inner_failed(inner, "QEMU's monitor", r);
	is = strstr(text, " is ");
	if (is)
		*ret = strtoull(is + 4, NULL, 16);
	else
		row_blame(inner->cell->row, "gpa2hva says: %s", text);
	free(text);
	return is ? 0 : -EPROTO;
}

int inner_pa(struct inner *inner, uint64_t gpa, uint64_t *ret)
{
	uint64_t hva;
	int r = inner_hva(inner, gpa, &hva);

	return r ? r : victim_pa_of(inner->pid, hva, ret);
}

static bool is_shared(struct inner *inner, enum inner_kind kind)
{
	uint64_t pa, flags;

	if (inner_pa(inner, inner->now.gpa[kind], &pa) ||
	    victim_flags(pa, &flags))
		return false;
	if (inner->cell->row->configuration == ROW_BASELINE)
		return flags >> KPF_KSM & 1;
	if (kind == INNER_ZERO)
		return flags >> KPF_ZERO_PAGE & 1;
	return !(flags >> KPF_ANON & 1);
}

/* A content with many sharers has its second copy. */
static bool is_recoverable(struct inner *inner)
{
	return inner->cell->row->configuration == ROW_BASELINE ||
	       inner_stat(inner, "pages_recoverable") >= COMMON_PAGES;
}

static int start_ksm(void)
{
	int r = knob_write(KSM "sleep_millisecs", "5");

	if (!r)
		r = knob_write(KSM "pages_to_scan", "2000");
	if (!r)
		r = knob_write(KSM_RUN, "1");
	return r;
}

static int not_merged(struct inner *inner)
{
	json_t *stats = NULL;
	char *text;

	if (inner->cell->row->configuration == ROW_TWINFOLD &&
	    !inner_stats(inner, &stats)) {
		text = json_dumps(stats, JSON_COMPACT);
		printf("drill: stats: %s\n", text ? text : "");
		free(text);
		json_decref(stats);
	}
	return inner_failed(inner, "pages with twins are not merged",
			    -ETIMEDOUT);
}

int inner_start_merging(struct inner *inner)
{
	int r = 0;

	if (inner->cell->row->configuration == ROW_BASELINE)
		r = start_ksm();
	return r ? inner_failed(inner, "KSM cannot be started", r) :
		   inner_command(inner, "start");
}

int inner_merge(struct inner *inner, enum inner_kind kind)
{
	enum inner_kind wait = kind == INNER_UNIQUE ? INNER_COMMON : kind;
	double end = clock_s() + WAIT_S;
	int r = inner_start_merging(inner);

	while (!r && !(is_shared(inner, wait) && is_recoverable(inner))) {
		if (clock_s() > end)
			return not_merged(inner);
		rest();
		r = inner_look(inner);
	}
	return r;
}
