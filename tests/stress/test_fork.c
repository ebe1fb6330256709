/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A forked child sees the bytes of the moment of the fork for as long as it
 * lives, shared frames too, whatever its parent and the engine do meanwhile.
 * When it has ended, freed slots go back to the system. And no old mapping
 * ever shows bytes that were put into the store later.
 *
 * ctest-timeout: 240
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/state.h"
#include "engine/store.h"
#include "lib/leak.h"
#include "lib/load_pages.h"
#include "lib/load_world.h"

#define PAGES 1024
#define ROUNDS 120ul
#define CHILD_PATIENCE 30

struct child {
	pid_t pid;
	atomic_bool *end; /* shared with it */
};

static atomic_bool *end_flag(void)
{
	void *p = mmap(NULL, TF_PAGE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void verify_in_child(const struct load *l)
{
	for (size_t i = 0; i < l->pages; i++)
		load_verify(l, i);
}

/* A child may write as well: its pages are its own. */
static void write_in_child(struct load *l, uint64_t seed)
{
	for (unsigned i = 0; i < 32; i++)
		load_visit(l, test_random(&seed) % l->pages, 2, &seed);
}

/* The whole life of a child. */
static void __attribute__((noreturn))
child_main(struct load *l, atomic_bool *end, uint64_t seed)
{
	alarm(CHILD_PATIENCE);
	verify_in_child(l);
	if (seed % 4 == 1)
		write_in_child(l, seed);
	while (!atomic_load(end)) {
		verify_in_child(l);
		test_nap(0.001);
	}
	verify_in_child(l);
	_exit(0);
}

static struct child child_start(struct load *l, uint64_t seed)
{
	struct child c = { .end = end_flag() };

	c.pid = fork();
	CHECK(c.pid >= 0);
	if (c.pid == 0)
		child_main(l, c.end, seed);
	return c;
}

static void child_end(struct child *c)
{
	int status = 0;

	atomic_store(c->end, true);
	CHECK(waitpid(c->pid, &status, 0) == c->pid);
	munmap(c->end, TF_PAGE);
	if (WIFSIGNALED(status))
		test_fail("a child was ended by signal %d%s", WTERMSIG(status),
			  WTERMSIG(status) == SIGALRM ? ": it slept" : "");
	if (WEXITSTATUS(status))
		test_fail("a child saw other bytes than at its fork");
}

/* What the parent does to its pages while a child looks on. */
static void change_pages(struct world *w, struct load *l, uint64_t *rng)
{
	static const char zeros[TF_PAGE];

	for (unsigned i = 0; i < PAGES / 8; i++) {
		size_t page = test_random(rng) % PAGES;

		if (test_random(rng) % 4) {
			load_visit(l, page, 1, rng);
			continue;
		}
		CHECK(tf_guest_discard(w->guest, page * TF_PAGE, TF_PAGE) == 0);
		load_expect(l, page, zeros);
	}
}

/* Two children overlap at any time; passes run all the time. */
static void run_rounds(uint64_t rounds, uint64_t least)
{
	struct tf_engine_opts opts;
	struct child old = { 0 }, new;
	uint64_t rng = 7;
	struct world w;
	struct load l;

	world_opts(&opts, 8);
	opts.smart_scan = 0;
	world_open(&w, PAGES, &opts, NULL);
	load_init(&l, w.ram, PAGES);
	world_merge_start(&w);
	for (uint64_t i = 0; i < rounds; i++) {
		new = child_start(&l, i);
		change_pages(&w, &l, &rng);
		if (old.pid)
			child_end(&old);
		old = new;
		change_pages(&w, &l, &rng);
	}
	child_end(&old);
	/* With a child alive hardly anything can be fenced: now it can. */
	for (int i = 0; i < 40; i++) {
		test_nap(0.01);
		change_pages(&w, &l, &rng);
	}
	world_merge_stop(&w);
	load_verify_all(&l);
	load_fini(&l);
	world_report(&w, "forks", l.writes, least, least / 2);
	world_close(&w);
}

/* A grandchild outlives the child that the engine heard of. */
static void test_grandchild(void)
{
	struct child c = { .end = end_flag() };
	int up[2], status = 0;
	struct world w;
	struct load l;
	char right = 0;

	world_open(&w, PAGES, NULL, NULL);
	load_init(&l, w.ram, PAGES);
	world_passes(&w, 4);
	CHECK(pipe(up) == 0);
	c.pid = fork();
	CHECK(c.pid >= 0);
	if (c.pid == 0) {
		if (fork())
			_exit(0);
		alarm(CHILD_PATIENCE);
		while (!atomic_load(c.end))
			test_nap(0.001);
		verify_in_child(&l);
		_exit(write(up[1], "1", 1) != 1);
	}
	close(up[1]);
	CHECK(waitpid(c.pid, &status, 0) == c.pid && status == 0);
	for (size_t i = 0; i < PAGES; i++)
		load_store(&l, i, i % 512);
	world_passes(&w, 4);
	atomic_store(c.end, true);
	if (read(up[0], &right, 1) != 1 || right != '1')
		test_fail("a grandchild saw other bytes than at its fork");
	close(up[0]);
	munmap(c.end, TF_PAGE);
	load_fini(&l);
	world_close(&w);
}

static struct tf_store *only_store(struct world *w)
{
	return tf_container_of(w->engine->stores.next, struct tf_store, link);
}

/* Pages of the store that take memory. */
static unsigned long store_pages(struct world *w)
{
	struct stat st;

	CHECK(fstat(only_store(w)->fd, &st) == 0);
	return (unsigned long)st.st_blocks / (TF_PAGE / 512);
}

/* Page i gets content `first` + i / 2: pairs, each a content of its own. */
static void fill_pairs(char *ram, unsigned first)
{
	for (unsigned i = 0; i < PAGES; i++)
		content_fill(ram + i * TF_PAGE, first + i / 2);
}

/* What is freed while a child lives is kept for it, and punched afterwards. */
static void test_slots_return(void)
{
	unsigned long full, kept, left;
	struct child c;
	struct world w;
	struct load l;

	world_open(&w, PAGES, NULL, NULL);
	load_init(&l, w.ram, PAGES);
	fill_pairs(w.ram, 100);
	memcpy(l.shadow, w.ram, PAGES * TF_PAGE);
	world_passes(&w, 4);
	full = store_pages(&w);
	CHECK(full == PAGES / 2);
	c = child_start(&l, 0);
	for (unsigned i = 0; i < PAGES; i++)
		load_store(&l, i, 0);
	world_passes(&w, 4);
	kept = store_pages(&w);
	if (kept < full)
		test_fail("slots that a child may read were freed: %lu of %lu "
			  "are left",
			  kept, full);
	child_end(&c);
	world_passes(&w, 4);
	left = store_pages(&w);
	if (left)
		test_fail("%lu slots were not given back", left);
	printf("slots: %lu, while a child lived %lu, then %lu\n", full, kept,
	       left);
	load_verify_all(&l);
	load_fini(&l);
	world_close(&w);
}

static atomic_bool refuse_protection;

static int may_protect(const struct tf_os *os, int uffd, void *addr, size_t len,
		       bool on)
{
	if (on && atomic_load(&refuse_protection))
		return -ENOMEM;
	return tf_os_linux.uffd_protect(os, uffd, addr, len, on);
}

static void expect_content(const char *page, unsigned no, const char *what)
{
	char want[TF_PAGE];

	content_fill(want, no);
	if (memcmp(page, want, TF_PAGE))
		test_fail("%s", what);
}

/*
 * Frames that could not be protected are the kernel's to copy; their mappings
 * go on covering slots. Page 0 is copied by a write, page 2 is left alone,
 * everything else moves on to other contents, thousands of them.
 */
static void test_stale_mappings(void)
{
	struct tf_os os = tf_os_linux;
	struct tf_stats s;
	struct world w;

	os.uffd_protect = may_protect;
	world_open(&w, PAGES, NULL, &os);
	content_fill(w.ram, 50);
	content_fill(w.ram + TF_PAGE, 50);
	content_fill(w.ram + 2 * TF_PAGE, 51);
	content_fill(w.ram + 3 * TF_PAGE, 51);
	world_passes(&w, 1);
	atomic_store(&refuse_protection, true);
	world_passes(&w, 1);
	atomic_store(&refuse_protection, false);
	world_stats(&w, &s);
	CHECK(s.pages_cow == 4);
	w.ram[0]++; /* the kernel copies */
	w.ram[0]--;
	CHECK(tf_guest_discard(w.guest, TF_PAGE, TF_PAGE) == 0);
	CHECK(tf_guest_discard(w.guest, 3 * TF_PAGE, TF_PAGE) == 0);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 4; i < PAGES; i++)
			content_fill(w.ram + i * TF_PAGE,
				     1000 + round * PAGES + i / 2);
		world_passes(&w, 3);
	}
	expect_content(w.ram, 50, "a copied page changed");
	expect_content(w.ram + 2 * TF_PAGE, 51, "an unprotected page changed");
	/* What lies under the copy, and under a page nobody copied. */
	madvise(w.ram, 4 * TF_PAGE, MADV_DONTNEED);
	expect_content(w.ram, 50, "an old mapping shows bytes put there later");
	expect_content(w.ram + 2 * TF_PAGE, 51,
		       "an old mapping shows bytes put there later");
	expect_content(w.ram + TF_PAGE, 0, "a discarded page shows bytes");
	world_close(&w);
}

int main(void)
{
	struct leak before;

	test_begin();
	run_rounds(2, 0);
	leak_take(&before);
	test_slots_return();
	test_stale_mappings();
	run_rounds(test_scaled(ROUNDS), test_scaled(2000));
	test_grandchild();
	leak_check(&before);
	return 0;
}
