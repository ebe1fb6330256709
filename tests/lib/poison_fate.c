/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fates. Set under the engine's lock, by whoever causes the fault; taken and
 * ended while no fault can happen. */
#include "tests/lib/poison_fate.h"

#include <string.h>

#include "tests/lib/prop.h"
#include "twinfold/ras.h"

#define PAGE TF_PAGE_SIZE

bool fates_find(const struct fates *f, const void *addr, struct fate_page *ret)
{
	for (unsigned i = 0; i < MODEL_GUESTS; i++) {
		const char *bank = f->guests[i].bank;
		size_t off = (size_t)((const char *)addr - bank);

		if (!bank || (const char *)addr < bank ||
		    off >= (size_t)MODEL_BANK_PAGES * PAGE)
			continue;
		*ret = (struct fate_page){ i, (unsigned)(off / PAGE) };
		return true;
	}
	return false;
}

enum fate fates_of(const struct fates *f, struct fate_page p)
{
	return (enum fate)atomic_load(&f->fate[p.guest][p.page]);
}

/* The worse fate wins. */
static void worsen(struct fates *f, const void *addr, enum fate fate)
{
	struct fate_page p;

	if (!fates_find(f, addr, &p) || fates_of(f, p) >= fate)
		return;
	atomic_store(&f->fate[p.guest][p.page], (uint8_t)fate);
	f->doomed += fate == FATE_DOOMED;
	prop_note("    guest %u, page %u: fate %d", p.guest, p.page, (int)fate);
}

void fates_doom(struct fates *f, const void *addr)
{
	worsen(f, addr, FATE_DOOMED);
}

void fates_maybe(struct fates *f, const void *addr)
{
	worsen(f, addr, FATE_EITHER);
}

void fates_hope(struct fates *f, const void *addr)
{
	struct fate_page p;

	if (fates_find(f, addr, &p) && fates_of(f, p) == FATE_DOOMED)
		atomic_store(&f->fate[p.guest][p.page], FATE_EITHER);
}

void fates_discarded(struct fates *f, unsigned guest, unsigned page,
		     unsigned pages)
{
	for (unsigned i = page; i < page + pages; i++)
		if (atomic_load(&f->fate[guest][i]) != FATE_SAFE)
			atomic_store(&f->fate[guest][i], FATE_GONE);
}

bool fates_page_is_right(const struct fates *f, struct fate_page p)
{
	const struct model_guest *g = &f->guests[p.guest];
	const volatile char *is = model_page(g, p.page);
	const char *want = model_shadow(g, p.page);

	if (!memcmp((const char *)is, want, PAGE))
		return true;
	/* The fate is set before the fault: looking at it late is safe. */
	if (fates_of(f, p) < FATE_EITHER)
		return false;
	for (unsigned i = 0; i < PAGE; i++)
		if (is[i] && is[i] != want[i])
			return false;
	return true;
}

typedef void page_fn(void *arg, struct fate_page p);

/* Every page of the areas that is not safe. */
static void each_unsafe(const struct fates *f, page_fn *fn, void *arg)
{
	for (unsigned g = 0; g < MODEL_GUESTS; g++)
		for (unsigned i = 0; i < MODEL_BANK_PAGES; i++)
			if (atomic_load(&f->fate[g][i]) != FATE_SAFE)
				fn(arg, (struct fate_page){ g, i });
}

static void touch(void *arg, struct fate_page p)
{
	const struct fates *f = arg;

	(void)*(volatile char *)model_page(&f->guests[p.guest], p.page);
}

void fates_touch(const struct fates *f)
{
	each_unsafe(f, touch, (void *)f);
}

static unsigned guest_of(const struct fates *f, const struct tf_guest *guest)
{
	for (unsigned i = 0; i < MODEL_GUESTS; i++)
		if (f->guests[i].guest == guest)
			return i;
	prop_fail("a vMCE for a guest that is none");
}

static void take_all(struct fates *f, struct tf_engine *e, const char *when)
{
	struct tf_vmce v = { .size = sizeof(v) };

	while (!tf_ras_take_vmce(e, 0, &v)) {
		struct fate_page p = {
			.guest = guest_of(f, v.guest),
			.page = (unsigned)((v.gpa - MODEL_GPA) / PAGE),
		};

		PROP_EXPECT(v.gpa >= MODEL_GPA && !(v.gpa % PAGE) &&
				    p.page < MODEL_BANK_PAGES,
			    "%s: a vMCE at gpa %#llx", when,
			    (unsigned long long)v.gpa);
		PROP_EXPECT(fates_of(f, p) != FATE_SAFE,
			    "%s: a vMCE for guest %u, page %u, which has a "
			    "source or is not lost",
			    when, p.guest, p.page);
		prop_note("    guest %u, page %u: told", p.guest, p.page);
		f->told[p.guest][p.page]++;
		f->told_all++;
	}
}

struct judge {
	struct fates *f;
	const char *when;
};

static void judge(void *arg, struct fate_page p)
{
	const struct judge *j = arg;
	unsigned told = j->f->told[p.guest][p.page];
	enum fate fate = fates_of(j->f, p);

	PROP_EXPECT(told <= 1 && (told || fate != FATE_DOOMED),
		    "%s: guest %u, page %u, fate %d: %u vMCEs", j->when,
		    p.guest, p.page, (int)fate, told);
	/* Nobody was told, so it has to be exact. */
	if (!told && fate == FATE_EITHER)
		atomic_store(&j->f->fate[p.guest][p.page], FATE_GONE);
}

void fates_take(struct fates *f, struct tf_engine *e, const char *when)
{
	struct judge j = { f, when };

	take_all(f, e, when);
	each_unsafe(f, judge, &j);
}

static void end(void *arg, struct fate_page p)
{
	struct fates *f = arg;
	const struct model_guest *g = &f->guests[p.guest];

	PROP_EXPECT(fates_page_is_right(f, p),
		    "guest %u, page %u was lost (fate %d): it reads as neither "
		    "zeros nor what was written",
		    p.guest, p.page, (int)fates_of(f, p));
	memcpy(model_shadow(g, p.page), model_page(g, p.page), PAGE);
	f->told[p.guest][p.page] = 0;
	atomic_store(&f->fate[p.guest][p.page], FATE_SAFE);
}

void fates_end(struct fates *f)
{
	each_unsafe(f, end, f);
}
