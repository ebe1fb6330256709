/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading smaps and applying what it says, over a seam that shows whatever
 * smaps the case needs and notes every call.
 */
#include "engine/attrs.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/unit_world.h"

#define START ((char *)0x10000)
#define LEN 0x2000ul

struct scene {
	struct tf_os os;
	struct unit_log log;
	struct tf_logger logger;
	char smaps[4096];
	int policy, policy_err;
	int advised[16];
	unsigned nadvised, nbound, nnamed;
	int advise_err, name_err;
};

static struct scene *scene_of(const struct tf_os *os)
{
	return (struct scene *)os;
}

static int show(const struct tf_os *os, const char *path, char **text)
{
	assert_string_equal(path, "/proc/self/smaps");
	*text = strdup(scene_of(os)->smaps);
	return *text ? 0 : -ENOMEM;
}

static int policy(const struct tf_os *os, void *addr, int *mode,
		  unsigned long *nodes, unsigned long maxnode)
{
	(void)addr;
	(void)maxnode;
	*mode = scene_of(os)->policy;
	nodes[0] = *mode ? 1 : 0;
	return scene_of(os)->policy_err;
}

static int advise(const struct tf_os *os, void *addr, size_t len, int advice)
{
	struct scene *s = scene_of(os);

	assert_ptr_equal(addr, START);
	assert_int_equal(len, LEN);
	s->advised[s->nadvised++] = advice;
	return s->advise_err;
}

static int bind(const struct tf_os *os, void *addr, size_t len, int mode,
		const unsigned long *nodes, unsigned long maxnode)
{
	struct scene *s = scene_of(os);

	(void)addr;
	(void)len;
	(void)maxnode;
	assert_int_equal(mode, s->policy);
	assert_int_equal(nodes[0], 1);
	s->nbound++;
	return 0;
}

static int name(const struct tf_os *os, void *addr, size_t len, const char *n)
{
	(void)addr;
	(void)len;
	assert_string_equal(n, "guest ram");
	scene_of(os)->nnamed++;
	return scene_of(os)->name_err;
}

static void hear(void *user, enum tf_log_level level, const char *line)
{
	struct unit_log *log = user;

	(void)level;
	snprintf(log->text, sizeof(log->text), "%s", line);
}

static void scene_init(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	s->os.read_file = show;
	s->os.policy = policy;
	s->os.advise = advise;
	s->os.bind = bind;
	s->os.name = name;
	s->logger = (struct tf_logger){ .fn = hear, .user = &s->log };
}

/* Add a mapping of one or two pages to the scene's smaps. */
static void add(struct scene *s, const char *range, const char *perms,
		unsigned inode, const char *path, unsigned key,
		const char *flags)
{
	size_t len = strlen(s->smaps);

	snprintf(s->smaps + len, sizeof(s->smaps) - len,
		 "%s %s 00000000 00:00 %u %s\nSize: 8 kB\n"
		 "ProtectionKey: %u\nVmFlags: %s \n",
		 range, perms, inode, path, key, flags);
}

static int read_attrs(struct scene *s, struct tf_attrs *a)
{
	return tf_attrs_read(&s->os, &s->logger, START, LEN, NULL, NULL, a);
}

static void plain_memory_has_no_attributes(void **state)
{
	struct tf_attrs a = { 0 };
	struct scene s;

	(void)state;
	scene_init(&s);
	add(&s, "8000-9000", "r--s", 7, "/some/file", 0, "rd sh");
	add(&s, "10000-12000", "rw-p", 0, "", 0, "rd wr mr mw me ac");
	assert_int_equal(read_attrs(&s, &a), 0);
	assert_int_equal(a.nadvices, 0);
	assert_false(a.noreserve || a.dontfork || a.policy || a.name[0]);
	assert_int_equal(tf_attrs_map_flags(&a), 0);
}

static void flags_become_advices(void **state)
{
	const int want[] = { MADV_DONTFORK, MADV_DONTDUMP, MADV_HUGEPAGE,
			     MADV_MERGEABLE, MADV_RANDOM };
	struct tf_attrs a = { 0 };
	struct scene s;

	(void)state;
	scene_init(&s);
	s.policy = MPOL_BIND;
	add(&s, "f000-12000", "rw-p", 0, "[anon:guest ram]", 0,
	    "rd wr dc dd hg mg rr nr");
	assert_int_equal(read_attrs(&s, &a), 0);
	assert_true(a.noreserve && a.dontfork);
	assert_int_equal(tf_attrs_map_flags(&a), MAP_NORESERVE);
	assert_int_equal(tf_attrs_apply(&s.os, &a, START, LEN), 0);
	assert_int_equal(s.nadvised, 5);
	assert_memory_equal(s.advised, want, sizeof(want));
	assert_int_equal(s.nbound, 1);
	assert_int_equal(s.nnamed, 1);
}

/* Policy and name of a file mapping are the file's: not applied to it. */
static void merged_mappings_get_the_advices_alone(void **state)
{
	struct tf_attrs a = { 0 };
	struct scene s;

	(void)state;
	scene_init(&s);
	s.policy = MPOL_BIND;
	add(&s, "10000-12000", "rw-p", 0, "[anon:guest ram]", 0, "rd nh sr");
	assert_int_equal(read_attrs(&s, &a), 0);
	assert_int_equal(tf_attrs_apply_merged(&s.os, &a, START, LEN), 0);
	assert_int_equal(s.nadvised, 2);
	assert_int_equal(s.nbound + s.nnamed, 0);
}

static void every_advice_is_tried(void **state)
{
	struct tf_attrs a = { 0 };
	struct scene s;

	(void)state;
	scene_init(&s);
	add(&s, "10000-12000", "rw-p", 0, "[anon:guest ram]", 0, "dc dd");
	assert_int_equal(read_attrs(&s, &a), 0);
	s.advise_err = -ENOMEM;
	s.name_err = -EBADF;
	assert_int_equal(tf_attrs_apply(&s.os, &a, START, LEN), -ENOMEM);
	assert_int_equal(s.nadvised, 2);
	assert_int_equal(s.nnamed, 1);
	s.advise_err = 0;
	assert_int_equal(tf_attrs_apply(&s.os, &a, START, LEN), -EBADF);
	s.name_err = -EINVAL; /* a kernel without names */
	assert_int_equal(tf_attrs_apply(&s.os, &a, START, LEN), 0);
}

static void what_cannot_merge_is_refused_with_a_reason(void **state)
{
	static const struct {
		const char *perms;
		unsigned inode, key;
		const char *flags, *why;
	} bad[] = {
		{ "r--p", 0, 0, "rd", "not readable and writable" },
		{ "rw-s", 0, 0, "rd wr sh", "shared" },
		{ "rw-p", 9, 0, "rd wr", "file-backed" },
		{ "rw-p", 0, 3, "rd wr", "protection key" },
		{ "rw-p", 0, 0, "rd wr sh", "shared" },
		{ "rw-p", 0, 0, "rd wr ht", "hugetlb" },
		{ "rw-p", 0, 0, "rd wr io", "device memory" },
		{ "rw-p", 0, 0, "rd wr pf", "PFN-mapped" },
		{ "rw-p", 0, 0, "rd wr mm", "mixed-map" },
		{ "rw-p", 0, 0, "rd wr lo", "munlock" },
		{ "rw-p", 0, 0, "rd wr wf", "MADV_KEEPONFORK" },
		{ "rw-p", 0, 0, "rd wr um", "another userfaultfd" },
		{ "rw-p", 0, 0, "rd wr uw", "another userfaultfd" },
		{ "rw-p", 0, 0, "rd wr ui", "another userfaultfd" },
		{ "rw-p", 0, 0, "rd wr gd", "growing stack" },
		{ "rw-p", 0, 0, "rd wr ss", "shadow stack" },
		{ "rw-p", 0, 0, "rd wr dp", "MAP_DROPPABLE" },
		{ "rw-p", 0, 0, "rd wr sl", "sealed" },
		{ "rwxp", 0, 0, "rd wr ex", "executable" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct tf_attrs a = { .policy = 42 };
		struct scene s;

		scene_init(&s);
		add(&s, "10000-12000", bad[i].perms, bad[i].inode, "",
		    bad[i].key, bad[i].flags);
		assert_int_equal(read_attrs(&s, &a), -EOPNOTSUPP);
		assert_int_equal(a.policy, 42);
		assert_non_null(strstr(s.log.text, bad[i].why));
		assert_non_null(strstr(s.log.text, "0x10000"));
	}
}

static void gaps_are_found_anywhere(void **state)
{
	static const char *const holes[][2] = {
		{ "8000-9000", "20000-21000" },   /* all of it */
		{ "10000-11000", "20000-21000" }, /* its end */
		{ "8000-9000", "11000-12000" },   /* its beginning */
	};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct tf_attrs a;
		struct scene s;

		scene_init(&s);
		add(&s, holes[i][0], "rw-p", 0, "", 0, "rd");
		add(&s, holes[i][1], "rw-p", 0, "", 0, "rd");
		assert_int_equal(read_attrs(&s, &a), -ENOMEM);
		assert_non_null(strstr(s.log.text, "map all of it"));
	}
}

static void mappings_of_one_memslot_are_alike(void **state)
{
	struct tf_attrs a;
	struct scene s;

	(void)state;
	scene_init(&s);
	add(&s, "10000-11000", "rw-p", 0, "", 0, "rd wr dc");
	add(&s, "11000-12000", "rw-p", 0, "", 0, "rd wr dc");
	assert_int_equal(read_attrs(&s, &a), 0);
	scene_init(&s);
	add(&s, "10000-11000", "rw-p", 0, "", 0, "rd wr dc");
	add(&s, "11000-12000", "rw-p", 0, "", 0, "rd wr");
	assert_int_equal(read_attrs(&s, &a), -EOPNOTSUPP);
	assert_non_null(strstr(s.log.text, "memslot of its own"));
}

static void kernels_without_numa_have_one_policy(void **state)
{
	struct tf_attrs a, b = { 0 };
	struct scene s;

	(void)state;
	scene_init(&s);
	add(&s, "10000-12000", "rw-p", 0, "", 0, "rd");
	s.policy_err = -ENOSYS;
	assert_int_equal(read_attrs(&s, &a), 0);
	s.policy_err = -EFAULT;
	assert_int_equal(read_attrs(&s, &a), -EFAULT);
	s.policy_err = 0;
	s.policy = MPOL_INTERLEAVE;
	assert_int_equal(read_attrs(&s, &a), 0);
	assert_false(tf_attrs_same_policy(&a, &b));
	assert_true(tf_attrs_same_policy(&a, &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_memory_has_no_attributes),
		cmocka_unit_test(flags_become_advices),
		cmocka_unit_test(merged_mappings_get_the_advices_alone),
		cmocka_unit_test(every_advice_is_tried),
		cmocka_unit_test(what_cannot_merge_is_refused_with_a_reason),
		cmocka_unit_test(gaps_are_found_anywhere),
		cmocka_unit_test(mappings_of_one_memslot_are_alike),
		cmocka_unit_test(kernels_without_numa_have_one_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
