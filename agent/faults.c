/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See faults.h. */
#include "agent/faults.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PICK_TRIES 2000
#define ROOM_FIRST 64

uint64_t faults_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

bool faults_has_source(enum tf_work_kind kind)
{
	return kind != TF_WORK_UNIQUE;
}

bool faults_same(const struct fault *f, unsigned guest,
		 const struct tf_work_page *page)
{
	if (f->page.kind != page->kind)
		return false;
	if (page->kind == TF_WORK_COMMON)
		return f->page.content == page->content;
	if (f->guest != guest)
		return false;
	return page->kind == TF_WORK_TWIN ? f->page.content == page->content :
					    f->page.gpa == page->gpa;
}

bool faults_pick(struct faults *f, enum tf_work_kind kind, faults_may_fn *may,
		 void *user, unsigned *guest, struct tf_work_page *page)
{
	for (int i = 0; i < PICK_TRIES; i++) {
		unsigned n = (unsigned)(faults_random(&f->random) % f->nguests);
		uint64_t at = faults_random(&f->random) % f->guest[n].pages;
		struct tf_work_page p = { .size = sizeof(p) };

		if (tf_work_page(f->guest[n].work, at, &p) || p.hot ||
		    p.kind != kind || !may(user, n, &p))
			continue;
		*guest = n;
		*page = p;
		return true;
	}
	return false;
}

uint64_t faults_count(struct faults *f, enum tf_work_kind kind)
{
	struct tf_work_page p = { .size = sizeof(p) };
	uint64_t count = 0;

	for (unsigned n = 0; n < f->nguests; n++)
		for (uint64_t i = 0; i < f->guest[n].pages; i++)
			if (!tf_work_page(f->guest[n].work, i, &p))
				count += p.kind == kind && !p.hot;
	return count;
}

static int make_room(struct faults *f)
{
	size_t room = f->room ? 2 * f->room : ROOM_FIRST;
	struct fault *list;

	if (f->n < f->room)
		return 0;
	list = realloc(f->list, room * sizeof(*list));
	if (!list)
		return -ENOMEM;
	f->list = list;
	f->room = room;
	return 0;
}

/* Its machine check may have come already when it gets into the book; it is
 * entered by faults_collect(), in this same thread. */
int faults_hit(struct faults *f, unsigned guest,
	       const struct tf_work_page *page)
{
	int r = make_room(f);

	if (r)
		return r;
	r = tf_ras_inject(f->engine, f->guest[guest].guest, page->gpa, f->how);
	return r ? r : faults_note(f, guest, page);
}

static int note(struct faults *f, unsigned guest,
		const struct tf_work_page *page, bool lost)
{
	int r = make_room(f);

	if (r)
		return r;
	f->list[f->n++] =
		(struct fault){ .guest = guest, .page = *page, .lost = lost };
	f->by_kind[page->kind]++;
	f->expected += lost;
	return 0;
}

int faults_note(struct faults *f, unsigned guest,
		const struct tf_work_page *page)
{
	return note(f, guest, page, !faults_has_source(page->kind));
}

int faults_note_lost(struct faults *f, unsigned guest,
		     const struct tf_work_page *page)
{
	return note(f, guest, page, true);
}

static void enter(struct faults *f, unsigned guest, uint64_t gpa)
{
	f->vmces++;
	for (size_t i = 0; i < f->n; i++) {
		struct fault *one = &f->list[i];

		if (one->guest == guest && one->page.gpa == gpa && one->lost &&
		    !one->told) {
			one->told = true;
			return;
		}
	}
	f->strays++;
	f->stray_guest = guest;
	f->stray_gpa = gpa;
}

void faults_collect(struct faults *f)
{
	struct tf_work_mce mce = { .size = sizeof(mce) };

	tf_vm_deliver_vmces(f->engine);
	for (unsigned n = 0; n < f->nguests; n++)
		while (!tf_work_take_mce(f->guest[n].work, &mce))
			enter(f, n, mce.gpa);
}

uint64_t faults_missing(const struct faults *f)
{
	uint64_t missing = 0;

	for (size_t i = 0; i < f->n; i++)
		missing += f->list[i].lost && !f->list[i].told;
	return missing;
}

bool faults_verdict(const struct faults *f, const char *who, uint64_t healed)
{
	uint64_t missing = faults_missing(f);

	if (missing)
		fprintf(stderr,
			"%s: %" PRIu64 " pages were lost for good and their "
			"guests took no machine check\n",
			who, missing);
	if (f->strays)
		fprintf(stderr,
			"%s: %" PRIu64 " machine checks for pages that were "
			"not lost, the last in guest %u at gpa 0x%" PRIx64 "\n",
			who, f->strays, f->stray_guest + 1, f->stray_gpa);
	if (healed != f->n - f->expected)
		fprintf(stderr,
			"%s: the engine healed %" PRIu64 " errors, and %" PRIu64
			" had to heal\n",
			who, healed, f->n - f->expected);
	return !missing && !f->strays && healed == f->n - f->expected;
}

void faults_fini(struct faults *f)
{
	free(f->list);
	f->list = NULL;
	f->n = f->room = 0;
}
