/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Traps. Owns the list of lost slots. Uses the real kernel, never the seam. */
#include "tests/lib/poison_trap.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/chain.h"
#include "engine/fence.h"
#include "engine/marker.h"
#include "engine/store.h"
#include "tests/lib/prop.h"

#define GARBAGE 0xa5
#define UNSEEN 512u

static const struct tf_os *const os = &tf_os_linux;

static struct {
	struct tf_engine *e;
	pthread_mutex_t lock; /* protects the rest */
	unsigned n;
	struct {
		const struct tf_store *store;
		uint32_t slot;
		bool known; /* to the engine */
	} lost[TRAP_SLOTS];
	unsigned nunseen;
	const char *unseen[UNSEEN];
} trap = { .lock = PTHREAD_MUTEX_INITIALIZER };

void trap_begin(struct tf_engine *e)
{
	pthread_mutex_lock(&trap.lock);
	trap.e = e;
	trap.n = trap.nunseen = 0;
	pthread_mutex_unlock(&trap.lock);
}

unsigned trap_count(void)
{
	unsigned n;

	pthread_mutex_lock(&trap.lock);
	n = trap.n;
	pthread_mutex_unlock(&trap.lock);
	return n;
}

const struct tf_store *trap_nth(unsigned i, uint32_t *slot)
{
	*slot = trap.lost[i].slot;
	return trap.lost[i].store;
}

/* Is a slot lost for which `is` says yes? */
typedef bool lost_fn(const void *arg, const struct tf_store *s, uint32_t slot);

void trap_learn_known(void)
{
	pthread_mutex_lock(&trap.lock);
	for (unsigned i = 0; i < trap.n; i++) {
		const struct tf_store *s = trap.lost[i].store;
		uint32_t dup = tf_slot_dup(s, trap.lost[i].slot);

		if (dup && tf_dup_get(trap.e, dup)->bad)
			trap.lost[i].known = true;
	}
	pthread_mutex_unlock(&trap.lock);
}

static bool any_lost(lost_fn *is, const void *arg)
{
	bool found = false;

	pthread_mutex_lock(&trap.lock);
	for (unsigned i = 0; i < trap.n && !found; i++)
		found = is(arg, trap.lost[i].store, trap.lost[i].slot);
	pthread_mutex_unlock(&trap.lock);
	return found;
}

struct place {
	const struct tf_store *store;
	uint32_t slot;
	int fd;
	uint64_t from, len; /* address or offset */
};

static bool is_slot(const void *arg, const struct tf_store *s, uint32_t slot)
{
	const struct place *p = arg;

	return s == p->store && slot == p->slot;
}

static bool is_mapped(const void *arg, const struct tf_store *s, uint32_t slot)
{
	const struct place *p = arg;

	return (uintptr_t)tf_slot_bytes(s, slot) - p->from < p->len;
}

static bool is_known(const void *arg, const struct tf_store *s, uint32_t slot)
{
	const struct place *p = arg;

	if (s->fd != p->fd || (uint64_t)slot * TF_PAGE - p->from >= p->len)
		return false;
	for (unsigned i = 0; i < trap.n; i++)
		if (trap.lost[i].store == s && trap.lost[i].slot == slot)
			return trap.lost[i].known;
	return false;
}

static bool is_in_file(const void *arg, const struct tf_store *s, uint32_t slot)
{
	const struct place *p = arg;

	return s->fd == p->fd && (uint64_t)slot * TF_PAGE - p->from < p->len;
}

bool trap_has_slot(const struct tf_store *s, uint32_t slot)
{
	struct place p = { .store = s, .slot = slot };

	return any_lost(is_slot, &p);
}

bool trap_has_bytes(const void *at, size_t len)
{
	struct place p = { .from = (uintptr_t)at & ~(TF_PAGE - 1), .len = len };

	return any_lost(is_mapped, &p);
}

bool trap_has_file(int fd, uint64_t off, size_t len)
{
	struct place p = { .fd = fd, .from = off, .len = len };

	return any_lost(is_in_file, &p);
}

bool trap_has_known(int fd, uint64_t off, size_t len)
{
	struct place p = { .fd = fd, .from = off, .len = len };

	return any_lost(is_known, &p);
}

bool trap_note(const struct tf_store *s, uint32_t slot)
{
	bool room;

	if (trap_has_slot(s, slot))
		return false;
	pthread_mutex_lock(&trap.lock);
	room = trap.n < TRAP_SLOTS;
	if (room) {
		trap.lost[trap.n].known = false;
		trap.lost[trap.n].store = s;
		trap.lost[trap.n++].slot = slot;
	}
	pthread_mutex_unlock(&trap.lock);
	return room;
}

/* A page that traps, somewhere. */
static char *trap_make(int fd, uint64_t off, int prot, int flags,
		       const struct tf_attrs *attrs)
{
	const struct tf_engine *e = trap.e;
	long at = os->map(os, NULL, TF_PAGE, prot, flags, fd, off);

	if (at < 0)
		prop_fail("no mapping for a trap");
	if (attrs)
		tf_attrs_apply_merged(os, attrs, (char *)at, TF_PAGE);
	if (os->uffd_register(os, e->uffd_merged, (char *)at, TF_PAGE,
			      TF_REG_WP) ||
	    os->uffd_poison(os, e->uffd_merged, (char *)at, TF_PAGE) ||
	    os->uffd_unregister(os, e->uffd_merged, (char *)at, TF_PAGE))
		prop_fail("a trap cannot be made");
	return (char *)at;
}

static void trap_move(char *made, char *to)
{
	if (os->remap_over(os, made, TF_PAGE, to))
		prop_fail("a trap cannot be laid");
	os->unmap(os, made, TF_PAGE);
}

static uint64_t entry_of(const char *addr)
{
	uint64_t entry = 0;

	os->pagemap_read(os, trap.e->pagemap, addr, &entry, 1);
	return entry;
}

static void is_unseen(const char *addr)
{
	pthread_mutex_lock(&trap.lock);
	if (trap.nunseen < UNSEEN)
		trap.unseen[trap.nunseen++] = addr;
	pthread_mutex_unlock(&trap.lock);
}

bool trap_is_copy(const char *addr)
{
	uint64_t entry = entry_of(addr);

	return (entry & TF_PM_PRESENT) && !(entry & TF_PM_FILE);
}

/* Is a mapping of a slot on its way there, that nobody has looked at yet? */
static bool is_in_flight(const struct tf_region *r, const char *addr)
{
	const struct tf_block *b =
		tf_block_find(r, tf_region_block_of(r, addr));
	unsigned page = tf_region_page_of(r, addr);

	return b->frames[page].state != TF_FRAME_SHARED &&
	       b->frames[page].state != TF_FRAME_COW;
}

/* A sharer's mapping, or that of a frame which the kernel would copy on
 * write: its writers are shut out first. */
static void lay_private(const struct tf_store *s, uint32_t slot, char *addr,
			bool fresh)
{
	struct tf_engine *e = trap.e;
	const struct tf_region *r = tf_region_at(e, addr);

	if (!r || trap_is_copy(addr))
		return;
	os->uffd_register(os, e->uffd_merged, addr, TF_PAGE, TF_REG_WP);
	os->uffd_protect(os, e->uffd_merged, addr, TF_PAGE, true);
	if (trap_is_copy(addr)) {
		os->uffd_unregister(os, e->uffd_merged, addr, TF_PAGE);
		os->uffd_wake(os, e->uffd_merged, addr, TF_PAGE);
		return;
	}
	trap_move(trap_make(s->fd, (uint64_t)slot * TF_PAGE,
			    PROT_READ | PROT_WRITE, MAP_PRIVATE, &r->attrs),
		  addr);
	/* Its registration did not come along. */
	os->uffd_register(os, e->uffd_merged, addr, TF_PAGE, TF_REG_WP);
	if (fresh || is_in_flight(r, addr))
		is_unseen(addr);
	os->uffd_wake(os, e->uffd_merged, addr, TF_PAGE);
}

static void lay_ours(const struct tf_store *s, uint32_t slot)
{
	trap_move(trap_make(s->fd, (uint64_t)slot * TF_PAGE, PROT_READ,
			    MAP_SHARED, NULL),
		  (char *)tf_slot_bytes(s, slot));
}

struct mapping {
	unsigned long start, end, off, inode;
	char perms[8];
};

/* The mapping that a line of /proc/self/maps describes shows `off`. */
static bool shows(const char *line, struct mapping *m, uint64_t off,
		  unsigned long inode)
{
	return sscanf(line, "%lx-%lx %7s %lx %*s %lu", &m->start, &m->end,
		      m->perms, &m->off, &m->inode) == 5 &&
	       m->inode == inode && off >= m->off &&
	       off < m->off + (m->end - m->start);
}

#define ALIASES 2048u

/* Every place where guests have this page of the file. */
static unsigned find_aliases(const struct tf_store *s, uint32_t slot,
			     char *at[ALIASES])
{
	FILE *maps = fopen("/proc/self/maps", "r");
	uint64_t off = (uint64_t)slot * TF_PAGE;
	char line[512];
	struct stat st;
	unsigned n = 0;

	if (!maps || fstat(s->fd, &st))
		prop_fail("cannot read /proc/self/maps");
	while (fgets(line, sizeof(line), maps) && n < ALIASES) {
		struct mapping m;

		if (shows(line, &m, off, st.st_ino) && m.perms[1] == 'w')
			at[n++] = (char *)(m.start + (off - m.off));
	}
	fclose(maps);
	return n;
}

void trap_lay(const struct tf_store *s, uint32_t slot, const char *fresh)
{
	static char *alias[ALIASES]; /* under the engine's lock */
	char garbage[TF_PAGE];
	unsigned n = find_aliases(s, slot, alias);

	for (unsigned i = 0; i < n; i++)
		lay_private(s, slot, alias[i], alias[i] == fresh);
	lay_ours(s, slot);
	memset(garbage, GARBAGE, sizeof(garbage));
	if (os->write_at(os, s->fd, garbage, TF_PAGE,
			 (uint64_t)slot * TF_PAGE) != (long)TF_PAGE)
		prop_fail("a lost slot cannot be overwritten");
}

bool trap_can_lose(const struct tf_block *b, unsigned page)
{
	enum tf_frame_state state = (enum tf_frame_state)b->frames[page].state;

	return b->armed && !b->ksm && !tf_bit(&b->blind, page) &&
	       (state == TF_FRAME_NEW || state == TF_FRAME_CANDIDATE) &&
	       entry_of(tf_frame_addr(b, page)) & TF_PM_PRESENT;
}

/* Whoever touches the hole between the two calls waits. */
void trap_lose(struct tf_block *b, unsigned page)
{
	const struct tf_engine *e = trap.e;
	char *addr = tf_frame_addr(b, page);

	if (os->advise(os, addr, TF_PAGE, MADV_DONTNEED) ||
	    os->uffd_poison(os, e->uffd_guest, addr, TF_PAGE))
		prop_fail("a private page cannot be lost: state %u",
			  b->frames[page].state);
	os->uffd_wake(os, e->uffd_guest, addr, TF_PAGE);
}

bool trap_staged(struct tf_engine *e, char *staged)
{
	if (!(entry_of(staged) & TF_PM_PRESENT))
		return false;
	if (os->advise(os, staged, TF_PAGE, MADV_DONTNEED) ||
	    os->uffd_poison(os, e->uffd_ours, staged, TF_PAGE))
		prop_fail("a staged page cannot be lost");
	return true;
}

void trap_hide(const void *addr, uint64_t *entries, size_t n)
{
	const char *from = addr;
	unsigned kept = 0;

	pthread_mutex_lock(&trap.lock);
	for (unsigned i = 0; i < trap.nunseen; i++) {
		size_t at = (size_t)(trap.unseen[i] - from) / TF_PAGE;

		if (trap.unseen[i] < from || at >= n)
			trap.unseen[kept++] = trap.unseen[i];
		else if (!(entries[at] & TF_PM_PRESENT))
			entries[at] = trap.e->marker;
	}
	trap.nunseen = kept;
	pthread_mutex_unlock(&trap.lock);
}

/* One page of a mapping that has lost slots. */
static long map_page(const struct tf_os *real, char *addr, int prot, int flags,
		     int fd, uint64_t off)
{
	if (!trap_has_file(fd, off, TF_PAGE))
		return real->map(real, addr, TF_PAGE, prot, flags, fd, off);
	trap_move(trap_make(fd, off, prot, MAP_PRIVATE, NULL), addr);
	is_unseen(addr);
	return 0;
}

long trap_map(const struct tf_os *real, void *addr, size_t len, int prot,
	      int flags, int fd, uint64_t off)
{
	if (!addr || fd < 0 || !trap_has_file(fd, off, len))
		return real->map(real, addr, len, prot, flags, fd, off);
	for (size_t at = 0; at < len; at += TF_PAGE) {
		long err = map_page(real, (char *)addr + at, prot, flags, fd,
				    off + at);

		if (err < 0)
			return err;
	}
	return (long)addr;
}
