/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See lose.h. Status values: Intel SDM vol. 3B, "Architecturally defined SRAO
 * and SRAR errors"; AMD APM vol. 2, "Deferred errors". Bank 9 is one that no CPU
 * model of QEMU gives a meaning.
 */
#include "agent/drillhost/lose.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/drillhost/gdb.h"
#include "agent/drillhost/monitor.h"

#define PAGE_BYTES 4096
#define DESTROYED 0xdb
#define BANK 9
#define MISC 0x8c /* a physical address, of 4 KiB */
#define AIM_TRIES 2000
#define AIM_NS 3000000

static const struct {
	const char *name;
	const char *options;
	uint64_t status;
	unsigned mcg_status;
} table[N_LOSE] = {
	[LOSE_DEFERRED] = { "deferred", "", UINT64_C(0x9c00180000000000), 5 },
	[LOSE_SRAO] = { "srao", "-b ", UINT64_C(0xbd000000000000c0), 5 },
	[LOSE_SRAR] = { "srar", "", UINT64_C(0xbd80000000000134), 7 },
	[LOSE_CORRECTED] = { "corrected", "", UINT64_C(0x9c000000000000c0), 0 },
	[LOSE_BYTES] = { "bytes", NULL, 0, 0 },
	[LOSE_HARD_OFFLINE] = { "hard-offline", NULL, 0, 0 },
	[LOSE_CORRUPT_PFN] = { "corrupt-pfn", NULL, 0, 0 },
};

const char *lose_name(enum lose_how how)
{
	return table[how].name;
}

int lose_find(const char *name, enum lose_how *ret)
{
	for (int i = 0; i < N_LOSE; i++)
		if (!strcmp(table[i].name, name)) {
			*ret = (enum lose_how)i;
			return 0;
		}
	return -EINVAL;
}

void lose_line(enum lose_how how, unsigned cpu, uint64_t pa,
	       char ret[LOSE_LINE_MAX])
{
	*ret = '\0';
	if (table[how].options)
		snprintf(ret, LOSE_LINE_MAX,
			 "mce %s%u %d 0x%" PRIx64 " 0x%x 0x%" PRIx64 " 0x%x",
			 table[how].options, cpu, BANK, table[how].status,
			 table[how].mcg_status, pa, MISC);
}

struct request {
	enum lose_how how;
	uint64_t pa;
	unsigned cpu;
	uint64_t from, to; /* user code that has to run; `to` 0: whatever */
};

/* Where the CPU that the monitor shows stands; 0: not in user code. */
static uint64_t user_rip(struct channel *qmp)
{
	char *text = NULL;
	const char *rip;
	uint64_t at = 0;

	if (monitor_line(qmp, "info registers", &text))
		return 0;
	rip = strstr(text, "RIP=");
	if (rip && strstr(text, "CPL=3"))
		at = strtoull(rip + 4, NULL, 16);
	free(text);
	return at;
}

static bool is_there(struct channel *qmp, const struct request *q)
{
	uint64_t rip;

	if (!q->to)
		return true;
	rip = user_rip(qmp);
	return rip >= q->from && rip < q->to;
}

/* Stop it, where it was asked to stand. */
static int stop_there(struct channel *qmp, const struct request *q)
{
	static const struct timespec pause = { .tv_nsec = AIM_NS };
	int r = monitor_stop(qmp);

	for (int i = 0; !r && !is_there(qmp, q); i++) {
		if (i == AIM_TRIES)
			return -EAGAIN;
		r = monitor_resume(qmp);
		nanosleep(&pause, NULL);
		if (!r)
			r = monitor_stop(qmp);
	}
	return r;
}

static int hurt(struct host *host, const struct request *q)
{
	unsigned char bytes[PAGE_BYTES];
	char line[LOSE_LINE_MAX];
	int r = 0;

	memset(bytes, DESTROYED, sizeof(bytes));
	if (q->how != LOSE_CORRECTED)
		r = gdb_write(host->gdb, q->pa, bytes, sizeof(bytes));
	lose_line(q->how, q->cpu, q->pa, line);
	if (!r && *line)
		r = monitor_line(&host->qmp, line, NULL);
	return r;
}

static int carry_out(struct host *host, const struct request *q)
{
	int r = stop_there(&host->qmp, q), resumed;

	if (!r)
		r = hurt(host, q);
	resumed = monitor_resume(&host->qmp);
	return r ? r : resumed;
}

static int parse(const json_t *request, struct request *ret)
{
	json_int_t pa = 0, cpu = 0, from = 0, to = 0;

	if (json_unpack((json_t *)request, "{s:I,s:I,s?I,s?I}", "pa", &pa,
			"cpu", &cpu, "from", &from, "to", &to) ||
	    lose_find(channel_text(request, "lose"), &ret->how) ||
	    pa % PAGE_BYTES)
		return -EINVAL;
	ret->pa = (uint64_t)pa;
	ret->cpu = (unsigned)cpu;
	ret->from = (uint64_t)from;
	ret->to = (uint64_t)to;
	return 0;
}

int lose_serve(struct host *host, const json_t *request)
{
	struct request q = { 0 };
	int r = parse(request, &q);

	if (!r)
		r = carry_out(host, &q);
	return channel_send(&host->inside, json_pack("{s:i}", "error", -r));
}
