/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and applying what a mapping looks like. The flags are those of
 * "VmFlags" in Documentation/filesystems/proc.rst; each is either harmless,
 * applied again by an madvise(), or a reason to refuse the memory.
 */
#include "engine/attrs.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/cleanup.h"

struct flag_rule {
	const char *flag;
	int advice;      /* applied again, or -1 */
	const char *why; /* refused, or NULL */
};

static const char is_shared[] =
	"is shared memory; use private anonymous memory";

static const struct flag_rule rules[] = {
	{ "dc", MADV_DONTFORK, NULL },
	{ "dd", MADV_DONTDUMP, NULL },
	{ "hg", MADV_HUGEPAGE, NULL },
	{ "nh", MADV_NOHUGEPAGE, NULL },
	{ "mg", MADV_MERGEABLE, NULL },
	{ "sr", MADV_SEQUENTIAL, NULL },
	{ "rr", MADV_RANDOM, NULL },
	{ "sh", -1, is_shared },
	{ "ht", -1, "is hugetlb memory; use ordinary pages" },
	{ "io", -1, "is device memory" },
	{ "pf", -1, "is PFN-mapped memory" },
	{ "mm", -1, "is mixed-map memory" },
	{ "lo", -1, "is locked; unlock it (munlock, munlockall)" },
	{ "wf", -1, "has MADV_WIPEONFORK; undo it (MADV_KEEPONFORK)" },
	{ "um", -1, "belongs to another userfaultfd; unregister it" },
	{ "uw", -1, "belongs to another userfaultfd; unregister it" },
	{ "ui", -1, "belongs to another userfaultfd; unregister it" },
	{ "gd", -1, "is a growing stack" },
	{ "ss", -1, "is a shadow stack" },
	{ "dp", -1, "has MAP_DROPPABLE; map it without" },
	{ "ex", -1, "is executable; map it PROT_READ|PROT_WRITE" },
	{ "sl", -1, "is sealed (mseal)" },
};

/* One mapping of smaps. */
struct vma {
	uintptr_t start, end;
	char perms[5];
	unsigned long inode, off;
	char path[96];
	char flags[128];
	unsigned pkey;
};

static int refuse(const struct tf_logger *log, const struct vma *v,
		  const char *why)
{
	tf_log(log, TF_LOG_WARNING, "memslot refused: memory at %#lx %s",
	       (unsigned long)v->start, why);
	return -EOPNOTSUPP;
}

static bool has_flag(const struct vma *v, const char *flag)
{
	const char *p = v->flags;

	for (; (p = strstr(p, flag)); p += 2)
		if (p[2] == ' ' || p[2] == '\0')
			return true;
	return false;
}

static int vma_check(const struct tf_logger *log, const struct vma *v)
{
	if (strncmp(v->perms, "rw", 2) != 0)
		return refuse(log, v, "is not readable and writable");
	if (v->perms[3] == 's')
		return refuse(log, v, is_shared);
	if (v->inode)
		return refuse(log, v,
			      "is file-backed; use private anonymous memory");
	if (v->pkey)
		return refuse(log, v, "has a protection key; use key 0");
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].why && has_flag(v, rules[i].flag))
			return refuse(log, v, rules[i].why);
	return 0;
}

static void vma_attrs(const struct vma *v, struct tf_attrs *a)
{
	size_t len = strlen(v->path);

	memset(a, 0, sizeof(*a));
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (!rules[i].why && has_flag(v, rules[i].flag))
			a->advices[a->nadvices++] = rules[i].advice;
	a->noreserve = has_flag(v, "nr");
	a->dontfork = has_flag(v, "dc");
	if (strncmp(v->path, "[anon:", 6) == 0 && len > 7)
		snprintf(a->name, sizeof(a->name), "%.*s", (int)(len - 7),
			 v->path + 6);
}

/*
 * Parse the mapping that begins at *text and step past it. False at the end.
 * A line with a '-' before its first space begins a mapping.
 */
static bool vma_next(char **text, struct vma *v)
{
	bool inside = false;
	char *line;

	memset(v, 0, sizeof(*v));
	while (*text && **text) {
		char *next = strchr(*text, '\n');
		unsigned long start, end;

		line = *text;
		if (next)
			*next = '\0';
		if (sscanf(line, "%lx-%lx %4s %lx %*s %lu %95[^\n]", &start,
			   &end, v->perms, &v->off, &v->inode, v->path) >= 5) {
			v->start = start;
			v->end = end;
			inside = true;
		} else if (strncmp(line, "ProtectionKey:", 14) == 0) {
			v->pkey = (unsigned)strtoul(line + 14, NULL, 10);
		} else if (strncmp(line, "VmFlags:", 8) == 0) {
			snprintf(v->flags, sizeof(v->flags), "%s", line + 8);
			*text = next ? next + 1 : NULL;
			return inside;
		}
		*text = next ? next + 1 : NULL;
	}
	return false;
}

static bool attrs_same(const struct tf_attrs *a, const struct tf_attrs *b)
{
	return a->nadvices == b->nadvices && a->noreserve == b->noreserve &&
	       memcmp(a->advices, b->advices, sizeof(a->advices)) == 0 &&
	       tf_attrs_same_policy(a, b) && strcmp(a->name, b->name) == 0;
}

static int policy_read(const struct tf_os *os, char *addr, struct tf_attrs *a)
{
	int err = os->policy(os, addr, &a->policy, a->nodes,
			     TF_ATTR_NODES * 8 * sizeof(long));

	if (err == -ENOSYS) /* a kernel without NUMA has one policy */
		err = 0;
	return err;
}

/* Who knows a mapping that would be refused. */
struct known {
	tf_attrs_known_fn *fn;
	void *user;
};

static bool is_known(const struct known *known, const struct vma *v)
{
	return known->fn && !strcmp(v->perms, "rw-p") &&
	       !strncmp(v->path, "/memfd:twinfold-store", 21) &&
	       known->fn(known->user, v->start, v->end, v->off);
}

/* A mapping that is not refused, and is like those before it. */
static int attrs_add(const struct tf_os *os, const struct tf_logger *log,
		     const struct vma *v, char *at, bool first,
		     struct tf_attrs *ret)
{
	struct tf_attrs a;
	int err = vma_check(log, v);

	if (err)
		return err;
	vma_attrs(v, &a);
	err = policy_read(os, at, &a);
	if (err)
		return err;
	if (!first && !attrs_same(&a, ret))
		return refuse(log, v,
			      "differs in its flags or memory policy from what "
			      "is before it; register it as a memslot of its "
			      "own");
	*ret = a;
	return 0;
}

/* Walk the mappings that cover [start, end): no gap, none refused, all alike.
 */
static int attrs_collect(const struct tf_os *os, const struct tf_logger *log,
			 char *text, uintptr_t start, uintptr_t end,
			 const struct known *known, struct tf_attrs *ret)
{
	uintptr_t at = start;
	bool any = false;
	struct vma v = { 0 };

	while (at < end && vma_next(&text, &v)) {
		int err;

		if (v.end <= at)
			continue;
		if (v.start > at)
			break;
		if (v.start >= start && v.end <= end && is_known(known, &v)) {
			at = v.end;
			continue;
		}
		err = attrs_add(os, log, &v, (char *)at, !any, ret);
		if (err)
			return err;
		any = true;
		at = v.end;
	}
	if (at >= end && !any)
		return refuse(log, &v, "is file-backed, all of it");
	if (at >= end)
		return 0;
	tf_log(log, TF_LOG_WARNING,
	       "memslot refused: nothing is mapped at %#lx; map all of it "
	       "first",
	       (unsigned long)at);
	return -ENOMEM;
}

int tf_attrs_read(const struct tf_os *os, const struct tf_logger *log,
		  char *start, size_t len, tf_attrs_known_fn *known, void *user,
		  struct tf_attrs *ret)
{
	const struct known k = { known, user };
	TF_AUTOFREE char *text = NULL;
	struct tf_attrs a = { 0 };
	int err = os->read_file(os, "/proc/self/smaps", &text);

	if (err) {
		tf_log(log, TF_LOG_WARNING,
		       "memslot refused: /proc/self/smaps cannot be read "
		       "(%s); under chroot, mount /proc there",
		       strerror(-err));
		return err;
	}
	err = attrs_collect(os, log, text, (uintptr_t)start,
			    (uintptr_t)start + len, &k, &a);
	if (err)
		return err;
	*ret = a;
	return 0;
}

int tf_attrs_apply_merged(const struct tf_os *os, const struct tf_attrs *a,
			  char *addr, size_t len)
{
	int first = 0;

	for (unsigned i = 0; i < a->nadvices; i++) {
		int err = os->advise(os, addr, len, a->advices[i]);

		if (err && !first)
			first = err;
	}
	return first;
}

int tf_attrs_apply(const struct tf_os *os, const struct tf_attrs *a, char *addr,
		   size_t len)
{
	int first = tf_attrs_apply_merged(os, a, addr, len);
	int err = 0;

	if (a->policy != MPOL_DEFAULT)
		err = os->bind(os, addr, len, a->policy, a->nodes,
			       TF_ATTR_NODES * 8 * sizeof(long));
	if (err && !first)
		first = err;
	if (a->name[0])
		err = os->name(os, addr, len, a->name);
	if (err && err != -EINVAL && !first) /* EINVAL: built without names */
		first = err;
	return first;
}

int tf_attrs_map_flags(const struct tf_attrs *a)
{
	return a->noreserve ? MAP_NORESERVE : 0;
}

bool tf_attrs_advised(const struct tf_attrs *a, int advice)
{
	for (unsigned i = 0; i < a->nadvices; i++)
		if (a->advices[i] == advice)
			return true;
	return false;
}

bool tf_attrs_same_policy(const struct tf_attrs *a, const struct tf_attrs *b)
{
	return a->policy == b->policy &&
	       memcmp(a->nodes, b->nodes, sizeof(a->nodes)) == 0;
}
