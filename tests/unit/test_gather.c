/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathering: pages that broke come back into one mapping, by passes, by
 * un-merging and by removal of the memslot; no byte, attribute or write is
 * lost, whatever fails and whoever touches the pages meanwhile.
 */
#include "engine/gather.h"

#include <errno.h>
#include <liburing.h>
#include <linux/mempolicy.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/fence.h"
#include "lib/unit_world.h"

#define PAGES 32u
#define HALF (PAGES / 2)
#define BYTES (PAGES * TF_PAGE)
#define MANY (4 * TF_BLOCK_PAGES)

/* Content of page i after it was written. */
#define FRESH(i) (1000u + (i))

/* More passes than gathering ever waits. */
#define LONG 50u

/* Mappings of this process that meet [ram, ram + bytes). */
static unsigned maps_inside(const char *ram, size_t bytes)
{
	uintptr_t from = (uintptr_t)ram, to = from + bytes;
	unsigned n = 0;
	char *text;

	assert_int_equal(tf_os_linux.read_file(&tf_os_linux, "/proc/self/maps",
					       &text),
			 0);
	for (char *line = text; line; line = strchr(line, '\n')) {
		unsigned long start, end;

		line += *line == '\n';
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && start < to &&
		    end > from)
			n++;
	}
	free(text);
	return n;
}

/* A fixed random order of [0, n). */
static void shuffle(unsigned *order, unsigned n)
{
	uint64_t x = UINT64_C(88172645463325252);

	for (unsigned i = 0; i < n; i++) {
		unsigned j;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		j = (unsigned)(x % (i + 1));
		order[i] = order[j];
		order[j] = i;
	}
}

static void write_all(char *ram, unsigned n)
{
	unsigned *order = malloc(n * sizeof(*order));

	assert_non_null(order);
	shuffle(order, n);
	for (unsigned i = 0; i < n; i++)
		unit_fill(ram + order[i] * TF_PAGE, FRESH(order[i]));
	free(order);
}

static bool is_foreign(struct unit *u, const char *page)
{
	return unit_spot(u, page).was.flags & TF_FRAME_FOREIGN;
}

/* Passes until `n` pages were gathered. */
static void await_gathered(struct unit *u, uint64_t n)
{
	for (unsigned i = 0; i < LONG; i++) {
		if (unit_stats(u).pages_gathered >= n)
			break;
		unit_pass(u);
	}
	assert_int_equal(unit_stats(u).pages_gathered, n);
}

static void assert_one_mapping(struct unit *u, const char *ram, unsigned n)
{
	assert_int_equal(maps_inside(ram, n * TF_PAGE), 1);
	for (unsigned i = 0; i < n; i++)
		assert_false(is_foreign(u, ram + i * TF_PAGE));
	unit_check(u);
}

static void assert_halves(const char *ram, unsigned n)
{
	unit_assert_run(ram, n / 2, 1);
	unit_assert_run(ram + n / 2 * TF_PAGE, n / 2, 1);
}

/* Everything can be written, merges, breaks and is gathered once more. */
static void assert_alive(struct unit *u, struct tf_guest *g, char *ram)
{
	unit_fill_run(ram, HALF, 1);
	unit_fill_run(ram + HALF * TF_PAGE, HALF, 1);
	unit_passes(u, 4);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	assert_int_equal(unit_stats(u).pages_cow, 0);
	assert_halves(ram, PAGES);
	assert_int_equal(tf_guest_unmerge(g, 0, BYTES), 0);
	assert_halves(ram, PAGES);
	assert_one_mapping(u, ram, PAGES);
}

static void passes_bring_back_what_was_written(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, MANY, &ram);
	write_all(ram, MANY);
	assert_int_equal(unit_breaks(&u), MANY);
	assert_true(maps_inside(ram, MANY * TF_PAGE) > MANY / 2);
	assert_true(unit_stats(&u).vmas > MANY / 2);
	await_gathered(&u, MANY);
	unit_assert_run(ram, MANY, FRESH(0));
	assert_one_mapping(&u, ram, MANY);
	assert_int_equal(unit_stats(&u).vmas, 0);
	unit_passes(&u, LONG); /* what is gathered stays so */
	assert_int_equal(unit_stats(&u).pages_gathered, MANY);
	unit_assert_run(ram, MANY, FRESH(0));
	unit_close(&u);
}

static void unmerging_gathers_at_once(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, MANY, &ram);
	write_all(ram, MANY / 4);
	assert_int_equal(tf_guest_unmerge(g, 0, MANY * TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_gathered, MANY);
	assert_one_mapping(&u, ram, MANY);
	assert_int_equal(unit_stats(&u).vmas, 0);
	unit_assert_run(ram, MANY / 4, FRESH(0));
	unit_assert_run(ram + MANY / 4 * TF_PAGE, MANY / 4, 1 + MANY / 4);
	unit_assert_run(ram + MANY / 2 * TF_PAGE, MANY / 2, 1);
	unit_close(&u);
}

/*
 * Pages that are gathered at different times may keep borders between them.
 * The estimate has to know: the budget of mappings rests on it.
 */
static void borders_between_parts_are_counted(void **state)
{
	struct unit u;
	unsigned real;
	char *ram;

	(void)state;
	unit_merged(&u, TF_BLOCK_PAGES, &ram);
	for (unsigned i = TF_BLOCK_PAGES; i-- > 0;)
		if (i % 4 < 2)
			unit_fill(ram + i * TF_PAGE, FRESH(i));
	await_gathered(&u, TF_BLOCK_PAGES / 2);
	real = maps_inside(ram, TF_BLOCK_BYTES);
	assert_in_range(unit_stats(&u).vmas, real - 1, real + 2);
	for (unsigned i = TF_BLOCK_PAGES; i-- > 0;)
		if (i % 4 >= 2)
			unit_fill(ram + i * TF_PAGE, FRESH(i));
	await_gathered(&u, TF_BLOCK_PAGES);
	unit_assert_run(ram, TF_BLOCK_PAGES, FRESH(0));
	real = maps_inside(ram, TF_BLOCK_BYTES);
	assert_in_range(unit_stats(&u).vmas, real - 1, real + 2);
	unit_close(&u);
}

/* A part in the middle: what is beside it stays merged. */
static void unmerging_a_part_leaves_the_rest(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	assert_int_equal(tf_guest_unmerge(g, 4 * TF_PAGE, 8 * TF_PAGE), 0);
	assert_int_equal(unit_stats(&u).pages_gathered, 8);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES - 8);
	assert_int_equal(maps_inside(ram + 4 * TF_PAGE, 8 * TF_PAGE), 1);
	assert_halves(ram, PAGES);
	unit_check(&u);
	assert_alive(&u, g, ram);
	unit_close(&u);
}

static void removal_of_the_memslot_gathers(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, MANY, &ram);
	write_all(ram, MANY / 2);
	assert_int_equal(tf_guest_del_memslot(g, 0), 0);
	assert_int_equal(unit_stats(&u).pages_gathered, MANY);
	assert_int_equal(maps_inside(ram, MANY * TF_PAGE), 1);
	unit_check(&u);
	unit_assert_run(ram, MANY / 2, FRESH(0));
	unit_assert_run(ram + MANY / 2 * TF_PAGE, MANY / 2, 1);
	unit_slot(g, 0, 0, ram, MANY * TF_PAGE);
	unit_fill_run(ram, MANY / 2, 1);
	unit_passes(&u, 3);
	assert_int_equal(unit_guest_stats(g).pages_merged, MANY);
	unit_close(&u);
}

struct look {
	char flags[128];
	int mode;
	unsigned long nodes[16];
};

/* Flags "um", "uw" are the engine's own, "sd" every new mapping has. */
static struct look look_at(const char *page)
{
	struct look l = { .mode = -1 };

	unit_flags(page, "um uw sd ", l.flags);
	syscall(SYS_get_mempolicy, &l.mode, l.nodes, 1024ul, page,
		(unsigned long)MPOL_F_ADDR);
	return l;
}

/* Merge, write, gather: every page looks as before. */
static void gather_and_look(struct unit *u, char *ram)
{
	struct tf_guest *g = unit_guest(u, NULL);
	struct look before = look_at(ram);

	unit_slot(g, 0, 0, ram, BYTES);
	unit_fill_run(ram, HALF, 1);
	unit_fill_run(ram + HALF * TF_PAGE, HALF, 1);
	unit_passes(u, 2);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	write_all(ram, PAGES);
	await_gathered(u, PAGES);
	for (unsigned i = 0; i < PAGES; i++) {
		struct look l = look_at(ram + i * TF_PAGE);

		assert_string_equal(l.flags, before.flags);
		assert_int_equal(l.mode, before.mode);
		assert_memory_equal(l.nodes, before.nodes, sizeof(l.nodes));
	}
	assert_one_mapping(u, ram, PAGES);
	unit_assert_run(ram, PAGES, FRESH(0));
}

/* An engine, and RAM that is no memslot yet. */
static char *open_plain(struct unit *u)
{
	unit_init(u);
	u->opts.smart_scan = 0;
	unit_open(u);
	return unit_ram(u, BYTES);
}

static void attributes_survive(void **state)
{
	static const int advices[] = {
		MADV_NORMAL, MADV_DONTFORK,   MADV_DONTDUMP,  MADV_NOHUGEPAGE,
		MADV_RANDOM, MADV_SEQUENTIAL, MADV_MERGEABLE, MADV_HUGEPAGE,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(advices) / sizeof(*advices); i++) {
		struct unit u;
		char *ram = open_plain(&u);

		/* One that this kernel does not know leaves plain memory. */
		madvise(ram, BYTES, advices[i]);
		gather_and_look(&u, ram);
		unit_close(&u);
	}
}

static void memory_policy_survives(void **state)
{
	static const int modes[] = { MPOL_BIND, MPOL_PREFERRED,
				     MPOL_INTERLEAVE };

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		unsigned long nodes = 1;
		struct unit u;
		char *ram = open_plain(&u);

		if (syscall(SYS_mbind, ram, BYTES, modes[i], &nodes, 64ul, 0)) {
			unit_close(&u);
			unit_skip("this kernel has no memory policies");
		}
		gather_and_look(&u, ram);
		unit_close(&u);
	}
}

/* Counted memory, all flags at once, and a name. */
static void accounting_and_name_survive(void **state)
{
	struct unit u;
	char *ram = open_plain(&u);
	bool named;

	(void)state;
	assert_ptr_equal(mmap(ram, BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 ram);
	assert_int_equal(madvise(ram, BYTES, MADV_DONTFORK), 0);
	assert_int_equal(madvise(ram, BYTES, MADV_DONTDUMP), 0);
	named = !syscall(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, ram,
			 BYTES, "guest ram");
	gather_and_look(&u, ram);
	if (named)
		assert_int_equal(unit_smaps(ram, "[anon:guest ram]"), 0);
	unit_close(&u);
}

static void writes_after_gathering_are_seen(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	write_all(ram, PAGES);
	await_gathered(&u, PAGES);
	unit_passes(&u, 3);
	assert_int_equal(unit_pass(&u).pages_volatile, 0);
	for (unsigned i = 0; i < 3; i++)
		unit_fill(ram + 7 * i * TF_PAGE, 1);
	assert_int_equal(unit_pass(&u).pages_volatile, 3);
	unit_pass(&u);
	assert_int_equal(unit_guest_stats(g).pages_merged, 3);
	unit_fill(ram + 7 * TF_PAGE, 5);
	unit_assert_page(ram, 1);
	unit_assert_page(ram + 7 * TF_PAGE, 5);
	unit_assert_page(ram + 14 * TF_PAGE, 1);
	assert_alive(&u, g, ram);
	unit_close(&u);
}

/* Frames that look written come back to the tables in two passes. */
static void gathered_pages_settle_again(void **state)
{
	struct unit u;
	char *ram;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	write_all(ram, PAGES);
	await_gathered(&u, PAGES);
	unit_passes(&u, 2);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(unit_state(&u, ram + i * TF_PAGE),
				 TF_FRAME_CANDIDATE);
	unit_close(&u);
}

static void hot_frames_wait(void **state)
{
	char *ram, *hot;
	struct unit u;

	(void)state;
	unit_merged(&u, PAGES, &ram);
	write_all(ram, PAGES);
	hot = ram + 9 * TF_PAGE;
	for (unsigned i = 0; i < 8; i++) {
		unit_fill(hot, 500 + i);
		unit_pass(&u);
	}
	assert_int_equal(unit_stats(&u).pages_gathered, PAGES - 1);
	assert_true(is_foreign(&u, hot));
	assert_int_equal(maps_inside(ram, BYTES), 3);
	unit_assert_page(hot, 507);
	await_gathered(&u, PAGES); /* it cools */
	/* What was gathered at another time keeps a border at most. */
	assert_in_range(maps_inside(ram, BYTES), 1, 2);
	unit_assert_page(hot, 507);
	unit_close(&u);
}

static void lone_pages_are_left_alone(void **state)
{
	struct tf_guest *g;
	char *ram, *lone;
	struct unit u;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	lone = ram + 5 * TF_PAGE;
	unit_fill(lone, FRESH(5));
	unit_passes(&u, 8);
	assert_int_equal(unit_state(&u, lone), TF_FRAME_CANDIDATE);
	for (unsigned i = 0; i < LONG; i++) {
		assert_false(unit_spot(&u, lone).b->foreign);
		assert_int_equal(unit_pass(&u).pages_volatile, 0);
	}
	assert_int_equal(unit_stats(&u).pages_gathered, 0);
	unit_fill(lone + TF_PAGE, FRESH(6)); /* not alone any more */
	await_gathered(&u, 2);
	assert_int_equal(maps_inside(lone, 2 * TF_PAGE), 1);
	unit_assert_run(lone, 2, FRESH(5));
	assert_alive(&u, g, ram);
	unit_close(&u);
}

static void zero_pages_are_gathered_too(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	for (unsigned i = 0; i < PAGES; i++)
		unit_fill(ram + i * TF_PAGE, i % 3 ? FRESH(i) : 0);
	await_gathered(&u, PAGES);
	assert_one_mapping(&u, ram, PAGES);
	unit_passes(&u, 4);
	assert_int_equal(unit_stats(&u).zero_pages, (PAGES + 2) / 3);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, i % 3 ? FRESH(i) : 0);
	unit_fill(ram + 3 * TF_PAGE, 77);
	assert_int_equal(unit_pass(&u).pages_volatile, 1);
	unit_assert_page(ram, 0);
	unit_assert_page(ram + 3 * TF_PAGE, 77);
	assert_alive(&u, g, ram);
	unit_close(&u);
}

static uint64_t entry_of(const struct unit *u, const char *page)
{
	uint64_t entry = 0;

	assert_int_equal(tf_os_linux.pagemap_read(&u->os, u->e->pagemap, page,
						  &entry, 1),
			 1);
	return entry;
}

/* Pin a page for I/O as devices do, with a registered buffer. */
static void ring_pin(struct io_uring *ring, void *page)
{
	struct iovec v = { .iov_base = page, .iov_len = TF_PAGE };

	assert_int_equal(io_uring_register_buffers(ring, &v, 1), 0);
}

/* The bytes go to the page that was pinned, whoever has it mapped. */
static void ring_read_to(struct io_uring *ring, char *page, uint64_t seed)
{
	int fd = memfd_create("data", MFD_CLOEXEC);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	char data[TF_PAGE];

	unit_fill(data, seed);
	assert_int_equal(write(fd, data, TF_PAGE), TF_PAGE);
	io_uring_prep_read_fixed(sqe, fd, page, TF_PAGE, 0, 0);
	assert_int_equal(io_uring_submit(ring), 1);
	assert_int_equal(io_uring_wait_cqe(ring, &cqe), 0);
	assert_int_equal(cqe->res, TF_PAGE);
	io_uring_cqe_seen(ring, cqe);
	close(fd);
}

static void pages_in_io_refuse(void **state)
{
	struct io_uring ring;
	char *ram, *pinned;
	struct unit u;
	uint64_t entry;

	(void)state;
	if (io_uring_queue_init(4, &ring, 0))
		unit_skip("no io_uring here");
	io_uring_queue_exit(&ring);
	unit_merged(&u, PAGES, &ram);
	assert_int_equal(io_uring_queue_init(4, &ring, 0), 0);
	write_all(ram, PAGES);
	unit_passes(&u, 2);
	pinned = ram + 20 * TF_PAGE;
	ring_pin(&ring, pinned);
	unit_passes(&u, 8);
	assert_int_equal(unit_stats(&u).pages_gathered, PAGES - 1);
	assert_true(is_foreign(&u, pinned));
	assert_int_equal(maps_inside(ram, BYTES), 3);
	unit_assert_run(ram, PAGES, FRESH(0));
	entry = entry_of(&u, pinned) << 9; /* the page's frame number */
	ring_read_to(&ring, pinned, 99);
	unit_assert_page(pinned, 99);
	unit_passes(&u, LONG);
	assert_true(entry_of(&u, pinned) << 9 == entry);
	assert_true(is_foreign(&u, pinned));
	ring_read_to(&ring, pinned, 98);
	unit_assert_page(pinned, 98);
	assert_int_equal(io_uring_unregister_buffers(&ring), 0);
	io_uring_queue_exit(&ring);
	await_gathered(&u, PAGES);
	assert_in_range(maps_inside(ram, BYTES), 1, 2);
	unit_assert_page(pinned, 98);
	unit_close(&u);
}

/* What was moved by UFFDIO_MOVE into the staging area. */
static struct {
	const char *page;
	unsigned times;
} fenced;

static long move_notes(const struct tf_os *os, int uffd, void *to, void *from,
		       size_t len)
{
	if (fenced.page >= (char *)from && fenced.page < (char *)from + len)
		fenced.times++;
	return tf_os_linux.uffd_move(os, uffd, to, from, len);
}

/* A declared pin promises that no fence takes the page: I/O with a plain
 * reference to it would go to the wrong page if it came back as a copy. */
static void declared_pins_are_not_fenced(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	write_all(ram, PAGES);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram + 20 * TF_PAGE),
			 TF_FRAME_CANDIDATE);
	assert_int_equal(tf_guest_pin(g, 20 * TF_PAGE, TF_PAGE), 0);
	fenced.page = ram + 20 * TF_PAGE;
	fenced.times = 0;
	unit_wrap(&u, uffd_move, move_notes);
	unit_passes(&u, 8);
	assert_int_equal(fenced.times, 0);
	assert_int_equal(tf_guest_unmerge(g, 0, BYTES), 0);
	assert_int_equal(fenced.times, 0);
	assert_int_equal(unit_stats(&u).pages_gathered, PAGES - 1);
	unit_wrap(&u, uffd_move, tf_os_linux.uffd_move);
	assert_int_equal(tf_guest_unpin(g, 20 * TF_PAGE, TF_PAGE), 0);
	unit_assert_run(ram, PAGES, FRESH(0));
	unit_close(&u);
}

/* Calls that are made to fail, number `at` of a kind and `more` after it. */
enum kind {
	MAP,
	REGISTER,
	UNREGISTER,
	REMAP,      /* nothing has happened */
	REMAP_GONE, /* the place has lost its mapping */
	MOVE,
	MOVE_SHORT, /* half of the pages */
	MOVE_DONE,  /* all was done, an error is reported */
	ADVISE,
};

static struct {
	bool armed;
	enum kind kind;
	unsigned at, more;
	_Atomic unsigned calls;
	_Atomic unsigned failed;
} plan;

static bool fails(enum kind kind)
{
	unsigned nth;

	if (!plan.armed || plan.kind != kind)
		return false;
	nth = plan.calls++;
	if (nth < plan.at || nth - plan.at > plan.more)
		return false;
	plan.failed++;
	return true;
}

static long plan_map(const struct tf_os *os, void *addr, size_t len, int prot,
		     int flags, int fd, uint64_t off)
{
	if (fails(MAP))
		return -ENOMEM;
	return tf_os_linux.map(os, addr, len, prot, flags, fd, off);
}

static int plan_remap(const struct tf_os *os, void *from, size_t len, void *to)
{
	if (fails(REMAP))
		return -ENOMEM;
	if (fails(REMAP_GONE)) {
		munmap(to, len);
		return -ENOMEM;
	}
	return tf_os_linux.remap_over(os, from, len, to);
}

static int plan_register(const struct tf_os *os, int uffd, void *addr,
			 size_t len, int mode)
{
	if (fails(REGISTER))
		return -ENOMEM;
	return tf_os_linux.uffd_register(os, uffd, addr, len, mode);
}

static int plan_unregister(const struct tf_os *os, int uffd, void *addr,
			   size_t len)
{
	if (fails(UNREGISTER))
		return -ENOMEM;
	return tf_os_linux.uffd_unregister(os, uffd, addr, len);
}

static long plan_move(const struct tf_os *os, int uffd, void *to, void *from,
		      size_t len)
{
	if (fails(MOVE))
		return -ENOMEM;
	if (len > TF_PAGE && fails(MOVE_SHORT))
		len = len / TF_PAGE / 2 * TF_PAGE;
	if (fails(MOVE_DONE)) {
		long moved = tf_os_linux.uffd_move(os, uffd, to, from, len);

		if (moved <= 0)
			return moved;
		return moved == (long)TF_PAGE ? -EEXIST : moved - (long)TF_PAGE;
	}
	return tf_os_linux.uffd_move(os, uffd, to, from, len);
}

static int plan_advise(const struct tf_os *os, void *addr, size_t len,
		       int advice)
{
	if (fails(ADVISE))
		return -ENOMEM;
	return tf_os_linux.advise(os, addr, len, advice);
}

static void plan_into(struct tf_os *os)
{
	os->map = plan_map;
	os->remap_over = plan_remap;
	os->uffd_register = plan_register;
	os->uffd_unregister = plan_unregister;
	os->uffd_move = plan_move;
	os->advise = plan_advise;
}

/* Page i of the mixed world: merged, zeros, or written. */
static uint64_t mixed(unsigned i)
{
	if (i == 10 || i == 11 || i == 25)
		return 1 + i % HALF;
	return i % 7 == 3 ? 0 : FRESH(i);
}

static struct tf_guest *open_mixed(struct unit *u, char **ram)
{
	struct tf_guest *g;

	unit_init(u);
	plan.armed = false;
	plan_into(&u->os);
	u->opts.smart_scan = 0;
	unit_open(u);
	g = unit_guest(u, NULL);
	*ram = unit_ram(u, BYTES);
	unit_slot(g, 0, 0, *ram, BYTES);
	unit_fill_run(*ram, HALF, 1);
	unit_fill_run(*ram + HALF * TF_PAGE, HALF, 1);
	unit_passes(u, 2);
	assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
	/* Downwards: nothing is broken ahead. */
	for (unsigned i = PAGES; i-- > 0;)
		if (mixed(i) != 1 + i % HALF)
			unit_fill(*ram + i * TF_PAGE, mixed(i));
	assert_int_equal(unit_guest_stats(g).pages_merged, 3);
	unit_passes(u, 3);
	assert_int_equal(unit_stats(u).pages_gathered, 0);
	return g;
}

static void assert_mixed(const char *ram)
{
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE, mixed(i));
}

/* As a pass does it. */
static void gather_now(struct unit *u, const char *ram)
{
	struct tf_block *b = unit_spot(u, ram).b;

	pthread_mutex_lock(&u->e->pass_lock);
	pthread_mutex_lock(&u->e->lock);
	tf_gather_block(b, true);
	pthread_mutex_unlock(&u->e->lock);
	pthread_mutex_unlock(&u->e->pass_lock);
}

/* What is discarded behind the engine's back reads as zeros, wherever it was
 * left. */
static void assert_discards(char *ram)
{
	for (unsigned i = 1; i < PAGES; i += 6) {
		char *page = ram + i * TF_PAGE;

		assert_int_equal(madvise(page, TF_PAGE, MADV_DONTNEED), 0);
		unit_assert_page(page, mixed(i) == FRESH(i) ? 0 : mixed(i));
		unit_fill(page, mixed(i));
	}
	assert_mixed(ram);
}

/* Gather with one fault. False: there is no such call. */
static bool gather_with_fault(enum kind kind, unsigned at, unsigned more)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	g = open_mixed(&u, &ram);
	plan.kind = kind;
	plan.at = at;
	plan.more = more;
	plan.calls = 0;
	plan.failed = 0;
	plan.armed = true;
	gather_now(&u, ram);
	plan.armed = false;
	assert_mixed(ram);
	unit_check(&u);
	unit_passes(&u, LONG);
	assert_mixed(ram);
	assert_discards(ram);
	assert_alive(&u, g, ram);
	unit_close(&u);
	return plan.failed;
}

/* Each call of a kind in turn, alone and together with all that follow. */
static void try_faults(enum kind kind, unsigned least)
{
	unsigned at = 0;

	while (gather_with_fault(kind, at, 0)) {
		gather_with_fault(kind, at, 2);
		at++;
	}
	gather_with_fault(kind, 0, ~0u);
	assert_true(at >= least);
}

#define FAULT_TEST(name, kind, least)                                          \
	static void name(void **state)                                         \
	{                                                                      \
		(void)state;                                                   \
		try_faults(kind, least);                                       \
	}

FAULT_TEST(no_fresh_mapping, MAP, 3)
FAULT_TEST(no_registration, REGISTER, 6)
FAULT_TEST(no_unregistration, UNREGISTER, 3)
FAULT_TEST(no_remap, REMAP, 3)
FAULT_TEST(remap_loses_the_place, REMAP_GONE, 3)
FAULT_TEST(no_move, MOVE, 6)
FAULT_TEST(moves_stop_early, MOVE_SHORT, 3)
FAULT_TEST(moves_are_not_counted, MOVE_DONE, 6)
FAULT_TEST(no_advice, ADVISE, 1)

static enum tf_uffd_kind failing_kind;
static int failing_err;

static int open_fails(const struct tf_os *os, enum tf_uffd_kind kind)
{
	if (kind == failing_kind)
		return failing_err;
	return tf_os_linux.uffd_open(os, kind);
}

/* A kernel without the context gathers nothing, and does all else. */
static void without_the_context_nothing_is_gathered(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	failing_kind = TF_UFFD_GATHER;
	failing_err = -EOPNOTSUPP;
	unit_init(&u);
	u.os.uffd_open = open_fails;
	u.opts.smart_scan = 0;
	unit_open(&u);
	assert_true(unit_stats(&u).can_merge);
	g = unit_guest(&u, NULL);
	ram = unit_ram(&u, BYTES);
	unit_slot(g, 0, 0, ram, BYTES);
	for (unsigned round = 0; round < 2; round++) {
		unit_fill_run(ram, HALF, 1);
		unit_fill_run(ram + HALF * TF_PAGE, HALF, 1);
		unit_passes(&u, 2);
		assert_int_equal(unit_guest_stats(g).pages_merged, PAGES);
		write_all(ram, PAGES);
		unit_passes(&u, LONG);
		unit_assert_run(ram, PAGES, FRESH(0));
	}
	assert_int_equal(tf_guest_unmerge(g, 0, BYTES), 0);
	assert_int_equal(unit_stats(&u).pages_gathered, 0);
	unit_close(&u);
}

static unsigned eventfds_left;

static int eventfd_fails(const struct tf_os *os)
{
	return eventfds_left-- ? tf_os_linux.eventfd(os) : -EMFILE;
}

/* Short of descriptors, no engine, and nothing is left of it. */
static void without_descriptors_there_is_no_engine(void **state)
{
	static const int errs[] = { -EMFILE, -ENFILE, -ENOMEM };
	struct unit u;
	unsigned n;

	(void)state;
	failing_kind = TF_UFFD_GATHER;
	for (size_t i = 0; i < sizeof(errs) / sizeof(*errs); i++) {
		failing_err = errs[i];
		unit_init(&u);
		u.os.uffd_open = open_fails;
		assert_int_equal(tf_engine_create_os(&u.opts, &u.os, &u.e),
				 errs[i]);
		unit_close(&u);
	}
	for (n = 0;; n++) {
		int err;

		eventfds_left = n;
		unit_init(&u);
		u.os.eventfd = eventfd_fails;
		err = tf_engine_create_os(&u.opts, &u.os, &u.e);
		unit_close(&u);
		if (!err)
			break;
		assert_int_equal(err, -EMFILE);
	}
	assert_true(n >= 3);
}

/* A guest that touches a page of the run in the middle of it. */
static struct {
	struct unit *u;
	char *page;
	bool writes;
	bool when_laid; /* else when the pages are just gone */
	bool started;
	_Atomic bool over;
	pthread_t thread;
	char got;
} toucher;

static void *touch_main(void *arg)
{
	volatile char *p = toucher.page;

	(void)arg;
	if (toucher.writes)
		(*p)++;
	toucher.got = *p;
	toucher.over = true;
	return NULL;
}

static void touch_now(void)
{
	if (toucher.started)
		return;
	toucher.started = true;
	assert_int_equal(
		pthread_create(&toucher.thread, NULL, touch_main, NULL), 0);
	usleep(20000);
	assert_false(toucher.over); /* it sleeps */
}

static int remap_and_touch(const struct tf_os *os, void *from, size_t len,
			   void *to)
{
	int err;

	if (!toucher.when_laid)
		touch_now();
	err = tf_os_linux.remap_over(os, from, len, to);
	if (toucher.when_laid)
		touch_now();
	return err;
}

static void touch_while(bool writes, bool when_laid)
{
	struct unit u;
	char *ram, was;

	unit_merged(&u, PAGES, &ram);
	write_all(ram, PAGES);
	unit_passes(&u, 3);
	toucher.u = &u;
	toucher.page = ram + 13 * TF_PAGE + 8;
	toucher.writes = writes;
	toucher.when_laid = when_laid;
	toucher.started = false;
	toucher.over = false;
	was = *toucher.page;
	unit_wrap(&u, remap_over, remap_and_touch);
	gather_now(&u, ram);
	unit_wrap(&u, remap_over, tf_os_linux.remap_over);
	assert_true(toucher.started);
	pthread_join(toucher.thread, NULL);
	assert_int_equal(toucher.got, (char)(was + writes));
	*toucher.page = was;
	unit_assert_run(ram, PAGES, FRESH(0));
	assert_int_equal(unit_stats(&u).pages_gathered, PAGES);
	assert_one_mapping(&u, ram, PAGES);
	unit_close(&u);
}

static void whoever_touches_a_page_sleeps(void **state)
{
	(void)state;
	touch_while(false, false);
	touch_while(true, false);
	touch_while(false, true);
	touch_while(true, true);
}

/* A hole that the embedder makes behind the engine's back reads as zeros. */
static void holes_after_gathering_are_served(void **state)
{
	struct tf_guest *g;
	struct unit u;
	char *ram;

	(void)state;
	g = unit_merged(&u, PAGES, &ram);
	write_all(ram, PAGES);
	await_gathered(&u, PAGES);
	assert_int_equal(madvise(ram + 4 * TF_PAGE, 4 * TF_PAGE, MADV_DONTNEED),
			 0);
	for (unsigned i = 0; i < PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i >= 4 && i < 8 ? 0 : FRESH(i));
	assert_alive(&u, g, ram);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_bring_back_what_was_written),
		cmocka_unit_test(unmerging_gathers_at_once),
		cmocka_unit_test(unmerging_a_part_leaves_the_rest),
		cmocka_unit_test(removal_of_the_memslot_gathers),
		cmocka_unit_test(attributes_survive),
		cmocka_unit_test(memory_policy_survives),
		cmocka_unit_test(accounting_and_name_survive),
		cmocka_unit_test(writes_after_gathering_are_seen),
		cmocka_unit_test(gathered_pages_settle_again),
		cmocka_unit_test(hot_frames_wait),
		cmocka_unit_test(lone_pages_are_left_alone),
		cmocka_unit_test(zero_pages_are_gathered_too),
		cmocka_unit_test(pages_in_io_refuse),
		cmocka_unit_test(declared_pins_are_not_fenced),
		cmocka_unit_test(no_fresh_mapping),
		cmocka_unit_test(no_registration),
		cmocka_unit_test(no_unregistration),
		cmocka_unit_test(no_remap),
		cmocka_unit_test(remap_loses_the_place),
		cmocka_unit_test(no_move),
		cmocka_unit_test(moves_stop_early),
		cmocka_unit_test(moves_are_not_counted),
		cmocka_unit_test(no_advice),
		cmocka_unit_test(without_the_context_nothing_is_gathered),
		cmocka_unit_test(without_descriptors_there_is_no_engine),
		cmocka_unit_test(whoever_touches_a_page_sleeps),
		cmocka_unit_test(holes_after_gathering_are_served),
		cmocka_unit_test(borders_between_parts_are_counted),
	};

	return unit_run(tests);
}
