/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathering pages that others hold or touch: pages that are pinned for I/O
 * stay where they are, a thread that touches a page on its way sleeps until
 * it is there, and no write is lost.
 */
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/unit_gather.h"

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
	unit_merged(&u, GATHER_PAGES, &ram);
	assert_int_equal(io_uring_queue_init(4, &ring, 0), 0);
	gather_write_all(ram, GATHER_PAGES);
	unit_passes(&u, 2);
	pinned = ram + 20 * TF_PAGE;
	ring_pin(&ring, pinned);
	unit_passes(&u, 8);
	assert_int_equal(unit_stats(&u).pages_gathered, GATHER_PAGES - 1);
	assert_true(gather_is_foreign(&u, pinned));
	assert_int_equal(gather_maps_inside(ram, GATHER_BYTES), 3);
	unit_assert_run(ram, GATHER_PAGES, GATHER_FRESH(0));
	entry = entry_of(&u, pinned) << 9; /* the page's frame number */
	ring_read_to(&ring, pinned, 99);
	unit_assert_page(pinned, 99);
	unit_passes(&u, GATHER_LONG);
	assert_true(entry_of(&u, pinned) << 9 == entry);
	assert_true(gather_is_foreign(&u, pinned));
	ring_read_to(&ring, pinned, 98);
	unit_assert_page(pinned, 98);
	assert_int_equal(io_uring_unregister_buffers(&ring), 0);
	io_uring_queue_exit(&ring);
	gather_await(&u, GATHER_PAGES);
	assert_in_range(gather_maps_inside(ram, GATHER_BYTES), 1, 2);
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
	g = unit_merged(&u, GATHER_PAGES, &ram);
	gather_write_all(ram, GATHER_PAGES);
	unit_passes(&u, 2);
	assert_int_equal(unit_state(&u, ram + 20 * TF_PAGE),
			 TF_FRAME_CANDIDATE);
	assert_int_equal(tf_guest_pin(g, 20 * TF_PAGE, TF_PAGE), 0);
	fenced.page = ram + 20 * TF_PAGE;
	fenced.times = 0;
	unit_wrap(&u, uffd_move, move_notes);
	unit_passes(&u, 8);
	assert_int_equal(fenced.times, 0);
	assert_int_equal(tf_guest_unmerge(g, 0, GATHER_BYTES), 0);
	assert_int_equal(fenced.times, 0);
	assert_int_equal(unit_stats(&u).pages_gathered, GATHER_PAGES - 1);
	unit_wrap(&u, uffd_move, tf_os_linux.uffd_move);
	assert_int_equal(tf_guest_unpin(g, 20 * TF_PAGE, TF_PAGE), 0);
	unit_assert_run(ram, GATHER_PAGES, GATHER_FRESH(0));
	unit_close(&u);
}

/* A guest that touches a page of the run in the middle of it. */
static struct {
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

	unit_merged(&u, GATHER_PAGES, &ram);
	gather_write_all(ram, GATHER_PAGES);
	unit_passes(&u, 3);
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
	unit_assert_run(ram, GATHER_PAGES, GATHER_FRESH(0));
	assert_int_equal(unit_stats(&u).pages_gathered, GATHER_PAGES);
	gather_assert_one_mapping(&u, ram, GATHER_PAGES);
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
	g = unit_merged(&u, GATHER_PAGES, &ram);
	gather_write_all(ram, GATHER_PAGES);
	gather_await(&u, GATHER_PAGES);
	assert_int_equal(madvise(ram + 4 * TF_PAGE, 4 * TF_PAGE, MADV_DONTNEED),
			 0);
	for (unsigned i = 0; i < GATHER_PAGES; i++)
		unit_assert_page(ram + i * TF_PAGE,
				 i >= 4 && i < 8 ? 0 : GATHER_FRESH(i));
	gather_assert_alive(&u, g, ram);
	unit_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_in_io_refuse),
		cmocka_unit_test(declared_pins_are_not_fenced),
		cmocka_unit_test(whoever_touches_a_page_sleeps),
		cmocka_unit_test(holes_after_gathering_are_served),
	};

	return unit_run(tests);
}
